"""The emulator's own endpoints open to those who can read the control secret's file."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.routing import Route

from apex_pipeline.emulator import Options
from apex_pipeline.emulator.http_surface import make_app
from apex_pipeline.emulator.instance import CLIENT_ID, Emulator
from apex_pipeline_tests.support.emulator_process import Start, start
from apex_pipeline_tests.support.emulator_server import control, token
from apex_pipeline_tests.support.waiting import SECONDS

__all__ = ["start"]


def own_endpoints() -> list[tuple[str, str]]:
    """Method and path of each, below `/_emulator/`."""
    application = Emulator(Options("secret"))
    routes = make_app(application).routes
    application.close()
    return [
        (method, route.path.removeprefix("/_emulator/").format(table="contact"))
        for route in routes
        if isinstance(route, Route) and route.path.startswith("/_emulator/")
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


ENDPOINTS = own_endpoints()


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_nothing_is_told_or_changed_without_the_secret(emulator, method, path):
    bearer = token(emulator)
    before = emulator.requests()
    # No secret, a wrong one, an administrator's token, and a client's secret.
    for shown in (None, "wrong", bearer, emulator.client_secret):
        with control(emulator, shown) as client:
            answer = client.request(method, path, json={"client_id": CLIENT_ID})
        if path == "health":
            assert answer.json() == {"status": "ok"}
        else:
            assert answer.status_code == 401
            assert "control_secret" in answer.json()["error"]
    assert emulator.requests() == before


def test_all_of_its_endpoints_are_tried():
    assert len(ENDPOINTS) == 13


def test_health_tells_more_to_those_who_show_the_secret(emulator):
    with control(emulator, emulator.control_secret) as client:
        assert client.get("health").json()["client_id"] == CLIENT_ID


def test_a_secret_is_made_for_its_owner_alone_and_kept(start: Start, tmp_path: Path):
    process, emulator = start()
    file = tmp_path / "state" / "control_secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(emulator.control_secret) >= 32
    process.terminate()
    output, _ = process.communicate(timeout=SECONDS)
    assert str(file) in output
    assert emulator.control_secret not in output
    _, again = start()
    assert again.control_secret == emulator.control_secret
    assert again.records() == []


def test_a_secret_of_your_own_is_taken(start: Start, tmp_path: Path):
    file = tmp_path / "mine"
    file.write_text("chosen by the tester\n")
    file.chmod(0o600)
    _, emulator = start("--control-secret-file", str(file))
    assert not (tmp_path / "state" / "control_secret").exists()
    with control(emulator, "chosen by the tester") as client:
        assert client.get("records/contact").json() == []


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [("readable", 0o644, "chmod 600"), ("\n", 0o600, "is empty")],
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content, mode, says):
    file = tmp_path / "mine"
    file.write_text(content)
    file.chmod(mode)
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "apex_pipeline.emulator", "--port", "0"),
            *("--state-dir", str(tmp_path / "state")),
            *("--control-secret-file", str(file)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ended.returncode == 1
    assert says in ended.stderr
