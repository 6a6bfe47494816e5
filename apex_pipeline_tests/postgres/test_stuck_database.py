"""With a locked, frozen or suspended database, everything ends and says why."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from apex_pipeline.cli.status import status
from apex_pipeline.errors import DatabaseError, WriterLockLostError
from apex_pipeline.monitoring import answer_time
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.database_checks import database_checks
from apex_pipeline.monitoring.doctor.runner import examine
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.monitoring.rules import health_watch
from apex_pipeline.postgres.store import connect
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.apex_command import APEX, INHERITED
from apex_pipeline_tests.support.ends import (
    delivered,
    emulator_settings,
    environment,
    execute,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.faulty_network import FaultyNetwork
from apex_pipeline_tests.support.panel_server import served
from apex_pipeline_tests.support.waiting import wait_until

# Far more than any of it may take on a busy machine, and far less than for ever.
BOUND = 120

HOLDER = "(application nightly report, process "


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    return environment(emulator, database_url, tmp_path / "state")


@pytest.fixture
def start(variables, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command with the variables, and some changed."""
    with ExitStack() as started:

        def run(*arguments: str, **changes: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [APEX, *arguments],
                env=INHERITED | variables | changes,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield run


@pytest.fixture
def network(database_url: str) -> Iterator[FaultyNetwork]:
    with FaultyNetwork(int(str(conninfo_to_dict(database_url)["port"]))) as opened:
        yield opened


@pytest.fixture
def through(database_url: str, network: FaultyNetwork) -> dict[str, str]:
    """The variable with the URL of the database through that network."""
    port = str(conninfo_to_dict(database_url)["port"])
    return {"DATABASE_URL": database_url.replace(f":{port}/", f":{network.port}/")}


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Another session has locked the table."""
    with psycopg.connect(database_url, application_name="nightly report") as other:
        other.execute("LOCK TABLE campaign_metrics")
        yield
        other.rollback()


@pytest.mark.slow
def test_a_sync_ends_with_its_budget_and_names_who_holds_the_table(
    start, database_url, emulator
):
    insert_many(database_url, 3)
    with locked(database_url):
        output, errors = start("sync", "--time-budget", "5").communicate(timeout=BOUND)

    assert HOLDER in errors
    assert "0 delivered" in errors
    assert not output
    ((kept,),) = query(database_url, "SELECT error FROM sync_run")
    assert HOLDER in kept
    assert delivered(emulator) == marked(database_url) == set()


@pytest.mark.slow
@pytest.mark.parametrize("budget", [["--time-budget", "30"], []])
def test_a_sync_whose_database_freezes_ends_with_its_budget_or_when_told_to(
    start, network, through, database_url, emulator, budget
):
    insert_many(database_url, 20_000)
    emulator.fault("slow", delay=0.3, count=100_000, path="UpsertMultiple")
    process = start("sync", *budget, **through)
    wait_until(lambda: delivered(emulator), seconds=BOUND)
    network.freeze()
    if not budget:
        process.send_signal(signal.SIGTERM)

    _, errors = process.communicate(timeout=BOUND)

    assert process.returncode != 0
    if budget:
        assert "does not answer" in errors
    assert marked(database_url) <= delivered(emulator)


@contextmanager
def suspended_once(
    database_url: str, condition: Callable[[], object]
) -> Iterator[None]:
    """Suspend our backends as soon as the condition holds, until the block ends."""
    found: list[tuple[int]] = []

    def suspend() -> None:
        wait_until(condition)
        found.extend(
            query(
                database_url,
                "SELECT pid FROM pg_stat_activity "
                "WHERE application_name = 'apex_pipeline' AND datname = current_database()",
            )
        )
        for (pid,) in found:
            os.kill(pid, signal.SIGSTOP)

    thread = threading.Thread(target=suspend)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        for (pid,) in found:
            os.kill(pid, signal.SIGCONT)
    assert found


@pytest.mark.slow
def test_a_run_whose_backends_are_suspended_ends_by_itself_and_leaves_no_session(
    database_url, emulator, tmp_path
):
    insert_many(database_url, 20_000)
    # Its backends are suspended once it has one that marks, and long before it is over.
    emulator.fault("slow", delay=1, count=100_000, path="UpsertMultiple")
    options = SyncOptions(
        stream=StreamOptions(rows_per_request=100), time_budget=10, request_timeout=5.0
    )
    with (
        suspended_once(database_url, lambda: marked(database_url)),
        connect(database_url) as store,
    ):
        report = run_sync(
            store, emulator_settings(emulator), tmp_path / "tokens.json", options
        )
    # A connection that opens later may do what a suspended one cannot.
    assert report.failure is None or isinstance(
        report.failure, DatabaseError | WriterLockLostError
    )
    assert marked(database_url) <= delivered(emulator)
    wait_until(lambda: not _sessions(database_url))


def _sessions(database_url: str) -> list[tuple[object, ...]]:
    return query(
        database_url,
        "SELECT application_name FROM pg_stat_activity "
        "WHERE application_name LIKE 'apex%' AND datname = current_database()",
    )


def test_status_tells_what_the_ledger_knows_while_the_table_is_locked(
    variables, database_url, monkeypatch
):
    """Given time, as the doctor below: a busy machine's has gone by in loading."""
    monkeypatch.setattr(answer_time, "_LEAST_SECONDS", BOUND)
    execute(
        database_url,
        "INSERT INTO sync_run (started_at, finished_at, host, status, delivered) "
        "VALUES (now(), now(), '', 'success', 17)",
    )
    runner = CliRunner(env=variables)
    with locked(database_url):
        shown = runner.invoke(status, ["--json"])
        checked = runner.invoke(status, ["--check"])

    found = json.loads(shown.stdout)
    assert (shown.exit_code, checked.exit_code) == (1, 1)
    assert (found["pending"], found["delivered_24h"]) == (None, 17)
    assert HOLDER in found["database_error"]
    assert HOLDER in checked.stdout


@pytest.mark.slow
def test_status_and_doctor_answer_though_the_database_is_frozen(
    start, network, through
):
    network.freeze()
    commands = [["status"], ["status", "--check"], ["doctor", "--json"]]
    processes = [start(*command, **through) for command in commands]
    (shown, said), (reasons, _), (lines, _) = [
        each.communicate(timeout=BOUND) for each in processes
    ]

    assert [each.returncode for each in processes] == [1, 1, 1]
    assert "credential source" in shown
    # On a busy machine the promise to answer at all comes before the reason.
    assert "answer" in said
    assert "answer" in reasons
    states = {line["name"]: line["state"] for line in json.loads(lines)["lines"]}
    assert states["database"] == "failed"
    assert states["token"] == "ok"


def test_doctor_names_who_holds_the_table(database_url):
    """Given time: the command gives none of it to a machine that needs all for itself."""
    checks = list(database_checks(database_url, Surroundings(lambda _: None)))
    with locked(database_url):
        lines = {line.name: line for line in examine(checks, seconds=BOUND)}

    assert lines["database"].state is CheckState.OK
    assert HOLDER in lines["tables and views"].measured


def test_the_panel_logs_who_holds_the_table_and_shows_dataverse_all_the_same(
    variables, database_url, caplog
):
    with locked(database_url), served(variables) as url:
        ready = httpx.get(f"{url}/readyz", timeout=BOUND)
        figures = httpx.get(f"{url}/api/kpis", timeout=BOUND)

    assert ready.status_code == 503
    assert HOLDER in caplog.text
    assert HOLDER not in ready.text
    assert figures.status_code == 200
    assert figures.json()["tiles"]


def test_the_panel_answers_though_the_database_is_frozen(variables, network, through):
    network.freeze()
    with served(variables | through) as url:
        assert httpx.get(f"{url}/readyz", timeout=BOUND).status_code == 503
        assert httpx.get(f"{url}/api/kpis", timeout=BOUND).status_code == 200


def test_the_watch_names_who_holds_the_table_and_leaves_no_session(
    variables, database_url, monkeypatch
):
    monkeypatch.setattr(health_watch, "_PATIENCE_SECONDS", 2.0)
    around = health_watch.WatchSurroundings((), (), ())
    with locked(database_url):
        seen, _ = health_watch.look(variables, around, {}, datetime.now(UTC))
        wait_until(lambda: not _sessions(database_url))

    findings = [finding for each in seen for finding in each.findings]
    assert any(HOLDER in finding.cause for finding in findings)
