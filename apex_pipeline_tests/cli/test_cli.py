"""The `apex` command at a terminal and in scripts: text, JSON, exit codes."""

import json
import signal
import subprocess

import pytest

from apex_pipeline_tests.support.apex_command import APEX, INHERITED, apex, variables
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

__all__ = ["apex", "variables"]


def test_sync_delivers_and_prints_counts(apex, emulator, database_url):
    insert_many(database_url, 120)
    ended = apex("sync")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("120 delivered, 0 quarantined, 0 remaining; ")
    assert delivered(emulator) == marked(database_url)


def test_the_demos_first_sync_says_when_another_run_may_have_been_first(
    forked_apex, variables, database_url
):
    insert_many(database_url, 3)
    code = (
        "import os; from apex_pipeline.cli.sync import first_sync;"
        " print(first_sync(dict(os.environ)))"
    )
    first, second = (
        forked_apex.run_code(code, env=INHERITED | variables).stdout for _ in range(2)
    )
    assert first.startswith("3 delivered, ")
    assert "scheduled run" not in first
    assert second.startswith("0 delivered, ")
    assert "A scheduled run may have been first" in second


def test_sync_speaks_json(apex, database_url):
    insert_many(database_url, 7)
    outcome = json.loads(apex("sync", "--json", "--limit", "5").stdout)
    assert (outcome["delivered"], outcome["remaining"]) == (5, 2)
    assert outcome["failure"] is None
    assert outcome["queued"] is False


def test_sync_says_that_another_one_is_at_work(apex, store, database_url):
    insert_many(database_url, 1)
    with store.writer_lock():
        ended = apex("sync")
    assert ended.returncode == 0
    assert "another sync holds the writer lock" in ended.stdout


def test_a_dry_run_counts(apex, emulator, database_url):
    insert(database_url, [campaign_row(), campaign_row(phase="x" * 17)])
    ended = apex("sync", "--dry-run")
    assert ended.returncode == 0
    assert "2 rows read, 1 of them invalid" in ended.stdout
    assert emulator.records() == []


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"DATAVERSE_RESOURCE": None}, 2, "DATABASE_URL is set but"),
        ({"AZURE_CLIENT_SECRET": None}, 2, "Set AZURE_CLIENT_SECRET, or"),
        ({"DATABASE_URL": "nonsense"}, 2, "must look like postgresql://"),
        ({"DATAVERSE_RESOURCE": "http://localhost"}, 2, "must begin with https://"),
        ({"AZURE_CLIENT_SECRET": "wrong"}, 1, "AADSTS7000215"),
        ({"APEX_CA_BUNDLE": None}, 1, "APEX_CA_BUNDLE"),
        ({"DATAVERSE_RESOURCE": "https://localhost:1"}, 1, "AADSTS500011"),
    ],
)
def test_a_mistake_ends_in_one_message(apex, database_url, changes, code, text):
    insert_many(database_url, 1)
    ended = apex("sync", **changes)
    assert ended.returncode == code
    assert text in ended.stderr
    assert "Stack" not in ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) <= 2
    assert marked(database_url) == set()


def test_an_unreachable_database_ends_in_one_message(apex):
    ended = apex("status", DATABASE_URL="postgresql://u:pass-word@127.0.0.1:1/db")
    assert ended.returncode == 1
    assert "127.0.0.1:1/db does not answer" in ended.stderr
    assert "pass-word" not in ended.stderr


def test_a_missing_schema_says_what_to_run(apex, empty_database_url):
    for command in ("sync", "status"):
        ended = apex(command, DATABASE_URL=empty_database_url)
        assert ended.returncode == 1
        assert "apex provision database" in ended.stderr


def test_provision_database_shows_then_applies_then_is_content(
    apex, empty_database_url
):
    changes = {"DATABASE_URL": empty_database_url}
    plan = apex("provision", "database", "--plan", **changes)
    assert plan.stdout.startswith("would be applied: 0001")
    applied = apex("provision", "database", **changes)
    assert applied.stdout == plan.stdout.replace("would be ", "")
    again = apex("provision", "database", **changes)
    assert again.stdout == "The database is up to date.\n"
    assert apex("status", **changes).returncode == 0


def test_status_tells_what_is_pending_and_what_went_wrong(apex, emulator, database_url):
    insert_many(database_url, 3)
    emulator.fault("status", status=403, count=99, path="UpsertMultiple")
    assert apex("sync").returncode == 1
    found = json.loads(apex("status", "--json").stdout)
    assert found["pending"] == 3
    assert found["oldest_pending_seconds"] > 0
    assert "role" in found["last_failure"]

    emulator.clear_faults()
    apex("sync")
    found = json.loads(apex("status", "--json").stdout)
    assert (found["pending"], found["last_failure"]) == (0, None)
    assert found["last_success_at"] is not None
    assert found["delivered_24h"] == 3
    text = apex("status", APEX_CLIENT_SECRET_EXPIRES_ON="2027-01-31").stdout
    assert "2027-01-31" in text


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sync_that_is_ended_by_hand_is_made_good_by_the_next(
    apex, variables, emulator, database_url, tmp_path, number
):
    insert_many(database_url, 1000)
    # After the first request there is no end of it, however late we are with the signal.
    emulator.fault(
        "status",
        status=503,
        retry_after="20",
        skip=1,
        count=None,
        path="UpsertMultiple",
    )
    with subprocess.Popen(
        [APEX, "sync"],
        env=INHERITED | variables,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: marked(database_url), process)
        process.send_signal(number)
        said, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, said
    assert "The run was interrupted after " in told
    assert "Stack" not in told
    assert marked(database_url) <= delivered(emulator)
    emulator.clear_faults()
    assert apex("sync").returncode == 0
    assert delivered(emulator) == marked(database_url)
    assert len(emulator.records()) == 1000


def test_help_teaches(apex):
    for command in ([], ["sync"], ["status"], ["up"], ["provision", "database"]):
        ended = apex(*command, "--help")
        assert ended.returncode == 0
        assert len(ended.stdout.splitlines()) > 5
    assert "EMULATOR_CLIENT_SECRET" in apex("emulator", "--help").stdout


def test_a_file_of_variables_is_read_and_does_not_override(
    apex, variables, tmp_path, database_url
):
    names = list(variables)
    (tmp_path / ".env").write_text(
        "".join(f"{name}={variables[name]}\n" for name in names)
    )
    assert apex("status", **dict.fromkeys(names)).returncode == 0
    ended = apex("status", DATABASE_URL="nonsense")
    assert ended.returncode == 2


@pytest.mark.parametrize(
    ("encoding", "code", "told"),
    [
        ("utf-8-sig", 0, ""),
        ("utf-16", 2, "The file .env is not UTF-8"),
        ("utf-16-le", 2, "The file .env is not UTF-8"),
        ("utf-16-be", 2, "The file .env is not UTF-8"),
    ],
)
@pytest.mark.parametrize("comment", ["", "# Größe\r\n"])
def test_a_file_of_variables_as_windows_writes_it(
    apex, variables, tmp_path, encoding, code, told, comment
):
    text = "".join(f"{name}={value}\r\n" for name, value in variables.items())
    (tmp_path / ".env").write_bytes(f"{text}{comment}".encode(encoding))
    ended = apex("status", **dict.fromkeys(variables))
    assert ended.returncode == code
    assert ended.stderr.startswith(f"apex: {told}" if told else "")
    assert "Traceback" not in ended.stderr


def test_a_certificate_stands_in_for_the_secret(apex, emulator, database_url, tmp_path):
    path = tmp_path / "application.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=apex"),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    certificate = (tmp_path / "cert.pem").read_text()
    path.write_text((tmp_path / "key.pem").read_text() + certificate)
    client_id = "d0000000-0000-4000-8000-000000000003"
    emulator.register(client_id, certificate=certificate)
    insert_many(database_url, 2)
    changes = {
        "AZURE_CLIENT_SECRET": None,
        "AZURE_CLIENT_ID": client_id,
        "AZURE_CLIENT_CERTIFICATE_PATH": str(path),
    }
    ended = apex("sync", **changes)
    assert ended.stderr == ""
    assert ended.stdout.startswith("2 delivered")
    expiry = json.loads(apex("status", "--json", **changes).stdout)
    assert expiry["credential_expires_on"] is not None
    assert query(database_url, "SELECT count(*) FROM sync_run") == [(1,)]
