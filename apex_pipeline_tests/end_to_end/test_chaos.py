"""Everything at once, and the machine itself failing."""

import resource
import time

import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import ApexError, DatabaseError
from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.postgres import migrations, stored_pacing
from apex_pipeline.postgres.store import connect
from apex_pipeline.quarantine import decisions
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.crashing import Death, crash, run_core
from apex_pipeline_tests.support.ends import (
    delivered,
    differences,
    emulator_settings,
    environment,
    execute,
    insert_many,
    marked,
)

ROWS = 20_000
FAULTS = (
    {"kind": "drop_before", "probability": 0.03},
    {"kind": "drop_after", "probability": 0.03},
    {"kind": "deadlock", "probability": 0.03},
    {"kind": "sql_timeout", "probability": 0.02},
    {"kind": "html", "probability": 0.03},
    {"kind": "status", "status": 503, "probability": 0.03},
    {"kind": "status", "status": 500, "probability": 0.03},
    {"kind": "unauthorized", "probability": 0.01},
    {"kind": "status", "status": 400, "probability": 0.02, "path": "UpsertMultiple"},
    {"kind": "status", "status": 429, "retry_after": "1", "probability": 0.005},
    {"kind": "first_use", "count": 5},
    {"kind": "slow", "delay": 0.1, "probability": 0.1},
)


@pytest.mark.slow
def test_every_fault_at_once_loses_nothing_and_doubles_nothing(
    store, emulator, database_url, tmp_path
):
    insert_many(database_url, ROWS)
    for fault in FAULTS:
        emulator.fault(**{"count": None} | fault)
    options = SyncOptions(
        time_budget=30, retry=RetryPolicy(attempts=5, first_wait=0.01, longest_wait=0.1)
    )
    settings = emulator_settings(emulator)
    for _ in range(40):
        report = run_sync(store, settings, tmp_path / "tokens.json", options)
        assert report.failure is None or isinstance(report.failure, ApexError)
        assert marked(database_url) <= delivered(emulator)
        # What came back as a 400 by chance is no fault of the row's.
        execute(
            database_url,
            "UPDATE campaign_metrics_quarantine SET next_attempt_at = now()",
        )
        store.ask(stored_pacing.save_pacing, pacing_key(settings), {}, None)
        if report.remaining == 0 and not store.ask(decisions.count)[0]:
            break
    assert len(emulator.records()) == ROWS
    assert len(marked(database_url)) == ROWS
    assert differences(emulator, database_url) == []


def _without_room(death: Death) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    run_core(death)


@pytest.mark.slow
def test_a_machine_without_room_still_delivers(emulator, database_url, tmp_path):
    """The token cache is the only file that a run writes, and it can do without."""
    insert_many(database_url, 100)
    variables = environment(emulator, database_url, tmp_path)
    assert not crash(variables, "never", 1, _without_room)
    assert len(marked(database_url)) == 100
    assert delivered(emulator) == marked(database_url)


@pytest.fixture
def server(tmp_path):
    """A Postgres that the test may starve."""
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    postgres.start()
    yield postgres
    postgres.stop()


@pytest.mark.slow
def test_a_database_without_room_fails_the_run_and_loses_nothing(
    server, emulator, tmp_path
):
    server.create_database("apex")
    url = server.url("apex")
    migrations.apply(url)
    insert_many(url, 2000)

    def run():
        with connect(url, wait_seconds=30) as store:
            return run_sync(
                store,
                emulator_settings(emulator),
                tmp_path / "tokens.json",
                SyncOptions(StreamOptions(page_size=100, rows_per_request=20)),
            )

    # No file of the server's may grow beyond this, nor the log that each commit needs.
    unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (100_000, -1))
    try:
        failure: ApexError | None = run().failure
    except ApexError as error:
        failure = error
    assert isinstance(failure, DatabaseError)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
    server.stop()
    server.start()
    assert marked(url) <= delivered(emulator)
    assert run().failure is None
    assert len(emulator.records()) == 2000
    assert delivered(emulator) == marked(url)
    assert differences(emulator, url) == []


@pytest.mark.slow
@pytest.mark.parametrize("step", [-86_400 * 365, 86_400 * 365])
def test_a_clock_that_is_set_anew_between_runs_holds_nothing_up(
    store, emulator, database_url, tmp_path, step
):
    """What one run left was written by a clock that was wrong by a year."""
    settings = emulator_settings(emulator)
    insert_many(database_url, 500)

    def run():
        return run_sync(store, settings, tmp_path / "tokens.json", SyncOptions())

    assert run().failure is None
    saved = store.ask(stored_pacing.pacing, pacing_key(settings))
    assert saved is not None
    saved["saved_at"] = time.time() + step
    store.ask(stored_pacing.save_pacing, pacing_key(settings), saved, None)
    insert_many(database_url, 500)
    report = run()
    assert report.failure is None
    assert report.delivered == 500
