"""The emulator as a process of its own."""

import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from apex_pipeline_tests.support.emulator_process import Start, start
from apex_pipeline_tests.support.emulator_server import UPSERT, campaign_metric, web_api
from apex_pipeline_tests.support.waiting import SECONDS

__all__ = ["start"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_though_clients_are_connected(start: Start, number):
    process, emulator = start()
    with web_api(emulator) as client:
        assert client.get("WhoAmI").status_code == 200
        process.send_signal(number)
        output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert "from-outside" not in output


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(start: Start):
    process, emulator = start()
    acknowledged: set[str] = set()
    with web_api(emulator) as client:
        for number in range(40):
            targets = [campaign_metric() for _ in range(50)]
            answer = client.post(UPSERT, json={"Targets": targets})
            assert answer.status_code == 204
            acknowledged |= {target["apex_campaignmetricsid"] for target in targets}
            if number == 39:
                process.kill()
    process.wait()
    _, again = start()
    found = {record["apex_campaignmetricsid"] for record in again.records()}
    assert found == acknowledged
    with web_api(again) as client:
        assert client.get("apex_campaignmetricses/$count").text == "2000"


def test_state_and_tokens_outlive_a_restart(start: Start):
    process, emulator = start()
    with web_api(emulator) as client:
        client.post(UPSERT, json={"Targets": [campaign_metric()]})
        authority = emulator.ca_bundle.read_bytes()
    process.terminate()
    process.wait()
    _, again = start()
    assert again.ca_bundle.read_bytes() == authority
    assert len(again.records()) == 1


def test_a_second_one_on_the_same_state_is_refused(start: Start, tmp_path: Path):
    start()
    second = subprocess.run(
        [
            sys.executable,
            *("-m", "apex_pipeline.emulator", "--port", "0"),
            *("--state-dir", str(tmp_path / "state")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert second.returncode == 1
    assert "--state-dir of its own" in second.stderr
    assert "Traceback" not in second.stderr


def test_flags_shape_it(start: Start):
    _, emulator = start(
        "--empty",
        *("--dop-hint", "17", "--limit-requests", "2"),
        *("--fault", '{"status": 502, "count": 1}'),
    )
    with web_api(emulator) as client:
        assert client.get("WhoAmI").status_code == 502
        assert client.get("WhoAmI").headers["x-ms-dop-hint"] == "17"
        assert client.get("apex_campaignmetricses").status_code == 404
        assert client.get("WhoAmI").status_code == 429


def test_a_certificate_of_somebody_else_is_taken(start: Start, tmp_path: Path):
    process, _ = start()
    process.terminate()
    process.wait()
    state = tmp_path / "state"
    for name in ("server.pem", "server.key"):
        (state / name).rename(tmp_path / name)
    _, emulator = start(
        *("--tls-cert", str(tmp_path / "server.pem")),
        *("--tls-key", str(tmp_path / "server.key")),
    )
    context = ssl.create_default_context(cafile=str(state / "ca.pem"))
    answer = httpx.get(f"{emulator.url}/_emulator/health", verify=context)
    assert answer.json()["status"] == "ok"


def test_help_teaches():
    text = subprocess.run(
        [sys.executable, "-m", "apex_pipeline.emulator", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("EMULATOR_CLIENT_SECRET", "ca.pem", "drop_after", "serve()", "501"):
        assert word in text
