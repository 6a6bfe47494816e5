"""Secrets stay where they belong, whatever goes wrong."""

import json
import logging
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from apex_pipeline_tests.cli.test_cli import INHERITED, apex
from apex_pipeline_tests.support.crashing import resolve_job
from apex_pipeline_tests.support.ends import campaign_row, environment, execute, insert

__all__ = ["apex"]

CLIENT = str(UUID(int=77))
CLIENT_SECRET = "sentinel-client~secret"
PASSWORD = "sentinel-p%40ssword"
SMTP_PASSWORD = "sentinel-smtp%40password"
WEBHOOK = "sentinel-webhook-signature"
HEARTBEAT = "sentinel-heartbeat-id"
ROLE = "Apex Metrics Sync"


@pytest.fixture
def sentinels():
    """Values that must be found nowhere; the access token joins them."""
    passwords = {PASSWORD, SMTP_PASSWORD}
    decoded = {password.replace("%40", "@") for password in passwords}
    return {CLIENT_SECRET, WEBHOOK, HEARTBEAT, *passwords, *decoded}


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    """The environment of a run, with secrets that are told from all other text."""
    emulator.register(CLIENT, client_secret=CLIENT_SECRET)
    parts = psycopg.conninfo.conninfo_to_dict(database_url)
    owner = f"sentinel_{parts['dbname']}"
    with psycopg.connect(database_url) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(
                sql.Identifier(owner), sql.Literal(PASSWORD.replace("%40", "@"))
            )
        )
    url = f"postgresql://{owner}:{PASSWORD}@{parts['host']}:{parts['port']}"
    yield environment(emulator, database_url, tmp_path / "state") | {
        "DATABASE_URL": f"{url}/{parts['dbname']}",
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        "APEX_TEAMS_WEBHOOK_URL": f"{emulator.url}/invoke?sig={WEBHOOK}",
        "APEX_HEARTBEAT_URL": f"https://localhost:9/{HEARTBEAT}",
        "APEX_ALERT_EMAIL_TO": "ops@example.com",
        "APEX_ALERT_EMAIL_FROM": "apex@example.com",
        "APEX_SMTP_URL": f"smtp://apex:{SMTP_PASSWORD}@localhost:9",
    }
    execute(database_url, f"DROP ROLE {owner}")


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


def tokens(folder) -> set[str]:
    """Access tokens in the cache, which is where they belong."""
    path = folder / "token_cache.json"
    if not path.exists():
        return set()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text()).get("AccessToken", {})
    return {entry["secret"] for entry in found.values()}


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
    with watched_processes(seen):
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


@contextmanager
def watched_processes(seen):
    """Collect the command line of every process, again and again."""
    done = threading.Event()

    def watch():
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes().decode("latin-1"))
            done.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
