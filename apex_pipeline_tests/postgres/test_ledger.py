from datetime import UTC, datetime, timedelta

import pytest

from apex_pipeline.errors import (
    ApexError,
    ConfigError,
    DatabaseError,
    DataverseError,
    InvalidRecordError,
)
from apex_pipeline.postgres import dataverse_targets, run_ledger, stored_pacing
from apex_pipeline.postgres.dataverse_targets import Target
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline_tests.support.ends import execute

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RESOURCE = "https://org.crm.dynamics.com"
UNSTORABLE = ["It says a\0b.", "It says \ud800 and \udfff.", "It says \\u0000."]


def test_a_run_is_opened_and_finished(store):
    run_id = store.start_run(at=NOW, dagster_run_id="d-1")
    (running,) = store.ask(run_ledger.last_runs, 5)
    assert (running.status, running.finished_at) == (RunStatus.RUNNING, None)

    record = RunRecord(
        status=RunStatus.FAILURE,
        finished_at=NOW + timedelta(minutes=4),
        rows_read=6,
        delivered=3,
        rejected=2,
        remaining=1,
        requests=4,
        throttled_seconds=1.5,
        token_cache_hits=5,
        token_cache_misses=7,
        oldest_pending_age_seconds=60.0,
        retry_at=NOW + timedelta(minutes=9),
        error="Dataverse is down",
    )
    store.finish_run(run_id, record)

    (run,) = store.ask(run_ledger.last_runs, 5)
    assert (run.id, run.started_at, run.dagster_run_id) == (run_id, NOW, "d-1")
    assert run.host
    for name in RunRecord.__slots__[4:]:
        assert getattr(run, name) == getattr(record, name), name


def test_a_run_whose_process_died_is_closed_by_the_next(store):
    dead = store.start_run(at=NOW, dagster_run_id=None)
    later = NOW + timedelta(minutes=5)
    alive = store.start_run(at=later, dagster_run_id=None)

    newest, interrupted = store.ask(run_ledger.last_runs, 5)

    assert (newest.id, newest.status) == (alive, RunStatus.RUNNING)
    assert (interrupted.id, interrupted.status) == (dead, RunStatus.INTERRUPTED)
    assert interrupted.finished_at == later
    assert [run.id for run in store.ask(run_ledger.last_runs, 1)] == [alive]


def test_a_finished_run_is_left_as_it_is_by_the_next(store):
    done = store.start_run(at=NOW, dagster_run_id=None)
    record = RunRecord(status=RunStatus.SUCCESS, finished_at=NOW)
    store.finish_run(done, record)

    store.start_run(at=NOW, dagster_run_id=None)

    assert store.ask(run_ledger.last_runs, 5)[1].status is RunStatus.SUCCESS


def test_pacing_is_kept_by_key(store):
    assert store.ask(stored_pacing.pacing, "a") is None
    assert store.ask(stored_pacing.retry_at, "a") is None

    store.ask(stored_pacing.save_pacing, "a", {"spent": [[1.5, 2]]}, NOW)
    assert store.ask(stored_pacing.pacing, "a") == {"spent": [[1.5, 2]]}
    assert store.ask(stored_pacing.retry_at, "a") == NOW
    assert store.ask(stored_pacing.pacing, "b") is None

    store.ask(stored_pacing.save_pacing, "a", {"spent": []}, None)
    assert store.ask(stored_pacing.pacing, "a") == {"spent": []}
    assert store.ask(stored_pacing.retry_at, "a") is None


def test_a_pause_says_why_as_long_as_it_lasts(store):
    store.ask(
        stored_pacing.save_pacing,
        "a",
        {"paused_by": "HTTP 429, too many requests"},
        NOW,
    )
    before = NOW - timedelta(seconds=1)
    pause = store.ask(stored_pacing.open_pause, ["a"], before)
    assert pause is not None
    assert str(pause).endswith(f"{NOW:%H:%M:%S} UTC (HTTP 429, too many requests)")
    assert store.ask(stored_pacing.open_pause, ["a"], NOW) is None
    store.ask(stored_pacing.save_pacing, "a", {}, NOW)
    assert str(store.ask(stored_pacing.open_pause, ["a"], before)).endswith(" UTC")
    gateways = {"paused_by": "HTTP 429", "is_paused_by_dataverse": False}
    store.ask(stored_pacing.save_pacing, "a", gateways, NOW)
    pause = store.ask(stored_pacing.open_pause, ["a"], before)
    assert str(pause).startswith("Something in Dataverse's place asked")


def test_a_pause_written_by_a_clock_that_was_years_ahead_ends_within_the_hour(store):
    store.ask(
        stored_pacing.save_pacing, "a", {}, datetime.now(UTC) + timedelta(days=4000)
    )
    found = store.ask(stored_pacing.retry_at, "a")
    assert found is not None
    assert found <= datetime.now(UTC) + timedelta(minutes=61)


def test_a_target_keeps_its_first_delivery_and_the_last_word(store):
    assert store.ask(dataverse_targets.target, RESOURCE) is None

    store.accept_duplicates(RESOURCE, NOW)
    assert store.ask(dataverse_targets.target, RESOURCE) == Target(RESOURCE, None, NOW)

    later = NOW + timedelta(hours=1)
    store.ask(dataverse_targets.record_delivery, RESOURCE, NOW)
    store.ask(dataverse_targets.record_delivery, RESOURCE, later)
    store.accept_duplicates(RESOURCE, later)
    assert store.ask(dataverse_targets.target, RESOURCE) == Target(RESOURCE, NOW, later)


def test_a_pause_lasts_as_long_as_was_asked_whatever_the_clocks_say(
    store, database_url
):
    """Our clock was two hours ahead while Dataverse asked for thirty seconds."""
    ahead = datetime.now(UTC) + timedelta(hours=2)
    store.ask(
        stored_pacing.save_pacing,
        "a",
        {"paused_for": 30.0},
        ahead + timedelta(seconds=30),
    )
    found = store.ask(stored_pacing.retry_at, "a")
    assert found is not None
    assert found <= datetime.now(UTC) + timedelta(seconds=31)

    # Postgres' own clock was ahead, and is right again.
    execute(
        database_url,
        "UPDATE dataverse_pacing SET updated_at = now() + interval '2 hours'",
    )
    assert store.ask(stored_pacing.retry_at, "a") is None


@pytest.mark.parametrize("said", UNSTORABLE)
def test_the_end_of_a_run_is_kept_whatever_its_error_says(store, said):
    run_id = store.start_run(at=NOW, dagster_run_id=None)
    record = RunRecord(status=RunStatus.FAILURE, finished_at=NOW, error=said)
    store.finish_run(run_id, record)
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert run.status == RunStatus.FAILURE
    assert run.error is not None
    assert run.error.startswith("It says ")


@pytest.mark.parametrize("said", UNSTORABLE)
@pytest.mark.parametrize(
    "error", [ApexError, ConfigError, DataverseError, DatabaseError, InvalidRecordError]
)
def test_the_text_of_every_error_can_be_stored(store, said, error):
    raised = error(said)
    for text in (str(raised), *getattr(raised, "problems", ())):
        kept = store.ask(
            lambda c, text: c.exec_driver_sql(
                "SELECT CAST(%(text)s AS text)", {"text": text}
            ).scalar_one(),
            text,
        )
        assert kept == text
