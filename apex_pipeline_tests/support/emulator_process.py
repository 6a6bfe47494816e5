"""The emulator as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from apex_pipeline.emulator import Options, ServedEmulator
from apex_pipeline_tests.support.waiting import wait_until

Start = Callable[..., tuple[subprocess.Popen[str], ServedEmulator]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes on one state folder, and ends what still runs."""
    processes: list[subprocess.Popen[str]] = []

    def run(*flags: str) -> tuple[subprocess.Popen[str], ServedEmulator]:
        port_file = tmp_path / "port"
        port_file.unlink(missing_ok=True)
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "apex_pipeline.emulator",
                *("--port", "0", "--port-file", str(port_file)),
                *("--state-dir", str(tmp_path / "state"), *flags),
            ],
            env={**os.environ, "EMULATOR_CLIENT_SECRET": "from-outside"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        wait_until(port_file.is_file, process)
        secret = tmp_path / "state" / "control_secret"
        emulator = ServedEmulator(
            f"https://localhost:{port_file.read_text().strip()}",
            tmp_path / "state" / "ca.pem",
            Options(
                "from-outside",
                control_secret=secret.read_text() if secret.is_file() else "",
            ),
        )
        return process, clients.enter_context(emulator)

    with ExitStack() as clients:
        yield run
    for process in processes:
        process.kill()
        process.communicate()
