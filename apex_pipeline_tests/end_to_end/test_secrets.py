"""Secrets stay where they belong, whatever goes wrong."""

import logging
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from apex_pipeline_tests.support.apex_command import INHERITED, apex
from apex_pipeline_tests.support.crashing import resolve_job
from apex_pipeline_tests.support.ends import campaign_row, insert
from apex_pipeline_tests.support.planted_secrets import (
    CLIENT_SECRET,
    HEARTBEAT,
    PASSWORD,
    SMTP_PASSWORD,
    WEBHOOK,
    sentinels,
    tokens,
    variables,
)
from apex_pipeline_tests.support.repeating import repeating

__all__ = ["apex", "sentinels", "variables"]
ROLE = "Apex Metrics Sync"


FAULTS = {
    "nothing": {},
    "a wrong secret": {"AZURE_CLIENT_SECRET": f"{CLIENT_SECRET}-wrong"},
    "a wrong password": {},
    "a password with a bare at sign": {},
    "channels that are malformed": {
        "APEX_TEAMS_WEBHOOK_URL": f"http://localhost/{WEBHOOK}",
        "APEX_HEARTBEAT_URL": f"localhost/{HEARTBEAT}",
        "APEX_SMTP_URL": f"smtp://apex:{SMTP_PASSWORD}/x@localhost",
    },
    "a service that fails": {},
    "a service that forbids": {},
    "a row that is refused": {},
}


@pytest.fixture(params=FAULTS)
def broken(request, variables, emulator, database_url):
    """The environment with one thing wrong."""
    url = variables["DATABASE_URL"]
    match request.param:
        case "a wrong password":
            variables["DATABASE_URL"] = url.replace(PASSWORD, f"{PASSWORD}x")
        case "a password with a bare at sign":
            variables["DATABASE_URL"] = url.replace("%40", "@")
        case "a service that fails":
            emulator.fault("status", status=501, count=1000)
        case "a service that forbids":
            emulator.fault("status", status=403, count=1000)
        case "a row that is refused":
            insert(database_url, [campaign_row(phase="x" * 17)])
    return variables | FAULTS[request.param]


def everything_stored(url: str) -> str:
    """All rows of all tables."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return "\n".join(
            str(connection.execute(f"SELECT * FROM {table}".encode()).fetchall())
            for (table,) in tables
        )


@pytest.mark.slow
def test_no_fault_brings_a_secret_to_light(
    broken,
    sentinels,
    database_url,
    tmp_path,
    monkeypatch,
    caplog,
    apex,
    create_database,
):
    insert(database_url, [campaign_row()])
    told = []
    for command in (
        ["sync", "--json"],
        ["sync", "--since", "2000-01-01", "--dry-run"],
        ["status"],
        ["doctor", "--send-test"],
        ["quarantine", "list"],
        ["quarantine", "release", "--all", "--yes"],
    ):
        ended = apex(*command, **broken)
        told += [ended.stdout, ended.stderr]
    for name, value in (INHERITED | broken).items():
        monkeypatch.setenv(name, value)
    # Nothing that Dagster itself logs may become an event of the second: it writes one
    # outside of the run, which in SQLite would wait for itself.
    for name, logger in (
        ("sync_campaign_metrics", "root"),
        ("release_quarantine", "apex_pipeline"),
    ):
        home = tmp_path / "dagster" / name
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text(
            "telemetry: {enabled: false}\npython_logs: {managed_python_loggers:"
            f" [{logger}], python_log_level: DEBUG}}\n"
        )
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        with caplog.at_level(logging.DEBUG), dg.DagsterInstance.get() as instance:
            result = resolve_job(name).execute_in_process(
                instance=instance, raise_on_error=False
            )
            told += [str(event) for event in result.all_events]
            told += [str(entry) for entry in instance.all_logs(result.run_id)]
    told.append(caplog.text)
    told.append(everything_stored(database_url))
    for path in (tmp_path / "dagster").rglob("*"):
        if path.is_file():
            told.append(path.read_bytes().decode("latin-1"))
    state = tmp_path / "state"
    for value in sentinels | tokens(state):
        for text in told:
            assert value not in text
        for path in state.rglob("*"):
            if path.is_file() and path.name != "token_cache.json":
                assert value.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_the_process_list_and_files_that_others_read_hold_no_secret(
    variables, sentinels, database_url, tmp_path, apex
):
    """Everybody on a machine sees what a process was called with."""
    insert(database_url, [campaign_row()])
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    seen: set[str] = set()
    with repeating(partial(look_at_processes, seen), 0.02):
        for command in (["sync"], ["quarantine", "list"]):
            ended = apex(*command, **variables, DAGSTER_HOME=str(home))
            assert ended.returncode == 0, ended.stderr
    assert any("apex" in line for line in seen)
    values = sentinels | tokens(tmp_path / "state")
    assert len(values) > len(sentinels)
    assert not [line for line in seen for value in values if value in line]
    for path in tmp_path.rglob("*"):
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            for value in values:
                assert value.encode() not in path.read_bytes(), path


def look_at_processes(seen):
    """Collect the command line of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            seen.add(path.read_bytes().decode("latin-1"))
