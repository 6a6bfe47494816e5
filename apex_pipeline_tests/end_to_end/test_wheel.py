"""The wheel by itself: installed without the checkout, started in an empty folder."""

import json
import os
import signal
import site
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Alone:
    """An environment that has the wheel, and an empty folder to start it in."""

    python: Path
    folder: Path
    home: Path

    def environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self.home)}

    def run(self, *arguments: str) -> str:
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env=self.environment(),
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        ).stdout


@pytest.fixture
def alone(tmp_path) -> Alone:
    """Build the wheel; install it with the packages of this environment, not with us."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("apex_pipeline-*.whl")
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True
    )
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # A folder on the path for modules alone: the .pth files in it, which name the
    # checkout, do not count.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    for name in ("empty", "home"):
        (tmp_path / name).mkdir()
    return Alone(
        tmp_path / "venv" / "bin" / "python", tmp_path / "empty", tmp_path / "home"
    )


@contextmanager
def running(alone: Alone, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`apex up --demo`, whatever becomes of the test."""
    module = ("-m", "apex_pipeline.cli")
    ports = {"APEX_PANEL_PORT": str(free_port())}
    with output.open("wb") as log:
        process = subprocess.Popen(
            [alone.python, *module, "up", "--demo", "--port", str(free_port())],
            cwd=alone.folder,
            env=alone.environment() | ports,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)


def delivered(alone: Alone) -> bool:
    local = alone.folder / ".apex" / "local.json"
    if not local.is_file():
        return False
    url = json.loads(local.read_text())["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT sum(delivered) FROM sync_run").fetchone()
    return bool(found and found[0])


@pytest.mark.slow
def test_the_wheel_delivers_from_an_empty_folder_and_leaves_its_state_alone(
    alone, tmp_path
):
    where = alone.run("-c", "import apex_pipeline; print(apex_pipeline.__file__)")
    assert where.startswith(str(tmp_path))
    output = tmp_path / "output"
    with running(alone, output) as process:
        try:
            wait_until(lambda: delivered(alone), process, seconds=4 * SECONDS)
        except (AssertionError, psycopg.Error) as error:
            error.add_note(output.read_text())
            raise
    assert process.returncode in (0, 130)
    assert [path.name for path in alone.folder.iterdir()] == [".apex"]
    assert list(alone.home.iterdir()) == []
