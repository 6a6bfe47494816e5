"""`apex panel` as a process."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from apex_pipeline.cli import main
from apex_pipeline.settings import load_panel_settings
from apex_pipeline.web_gate.serving import listen
from apex_pipeline_tests.support.apex_command import INHERITED
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.panel_server import TOKEN
from apex_pipeline_tests.support.waiting import SECONDS

APEX = [sys.executable, "-m", "apex_pipeline.cli"]


@contextmanager
def running(
    folder: Path, port: int, **variables: str
) -> Iterator["subprocess.Popen[str]"]:
    """The running command, once it reports that it serves."""
    process = subprocess.Popen(
        [*APEX, "panel", "--port", str(port)],
        env=INHERITED | {"APEX_STATE_DIR": str(folder)} | variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_in_order(tmp_path, number):
    port = free_port()
    with running(tmp_path, port, APEX_PANEL_TOKEN=TOKEN) as process:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=SECONDS) as client:
            assert client.get("/healthz").json() == {"ok": True}
            shown = {"Authorization": f"Bearer {TOKEN}"}
            answer = client.get(f"/api/kpis?token={TOKEN}", headers=shown)
            assert answer.status_code == 503
            client.post("/sign-in", data={"token": TOKEN}, headers={"Origin": url})
        process.send_signal(number)
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert output == ""


def test_who_connects_before_it_serves_waits_and_is_not_refused():
    listener = listen(load_panel_settings({}, port=free_port()))
    with (
        listener,
        socket.create_connection(listener.getsockname()[:2], timeout=SECONDS),
    ):
        pass


def apex_panel(*arguments: str, **variables: str) -> Result:
    cleared = dict.fromkeys(("APEX_PANEL_TOKEN", "APEX_PANEL_HOST", "APEX_PANEL_PORT"))
    return CliRunner().invoke(main, ["panel", *arguments], env=cleared | variables)


def test_other_machines_are_not_let_in_without_a_token():
    result = apex_panel("--host", "0.0.0.0")  # noqa: S104  refused
    assert result.exit_code == 2
    assert "set APEX_PANEL_TOKEN" in result.output


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("APEX_PANEL_PORT", "99999"),
        ("APEX_PANEL_TOKEN", "short"),
        ("APEX_TIME_ZONE", "Mars/X"),
        ("APEX_SLO_P95_MS", "-1"),
    ],
)
def test_a_variable_that_it_cannot_use_is_named_before_it_listens(name, text):
    # Where it listened after all, it would end there.
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = {"APEX_PANEL_PORT": str(server.getsockname()[1])}
        result = apex_panel(**taken | {name: text})
    assert result.exit_code == 2
    assert f"{name} must be" in result.output


def test_a_taken_port_is_named_with_what_changes_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = apex_panel("--port", str(port))
    assert result.exit_code == 1
    assert f"port {port}" in result.output
    assert "--port" in result.output
