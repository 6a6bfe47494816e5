"""No run ends well that had rows, sent some, and achieved nothing."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.emulator import Options, serve
from apex_pipeline.emulator.latency import Profile
from apex_pipeline.errors import (
    MarkSwallowedError,
    NoProgressError,
    OutOfTimeError,
    TransientError,
)
from apex_pipeline.monitoring.rules import sync_health
from apex_pipeline.postgres import run_ledger, stored_pacing
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.sync.lack_of_progress import had_to_wait, lack_of_progress
from apex_pipeline.sync.request_delivery import DataverseSink
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline.sync.tally import Tally
from apex_pipeline_tests.support.ends import (
    delivered,
    differences,
    emulator_settings,
    execute,
    insert_many,
    marked,
    query,
)

IMPATIENT = RetryPolicy(attempts=3, first_wait=0.01)
PATIENT = RetryPolicy(attempts=10_000, first_wait=0.05, longest_wait=0.05)
CHANGE = "UPDATE campaign_metrics SET tokens_in = tokens_in + 1"


def overdue(store):
    """What the health watch says of rows that wait, a quarter of an hour from now."""
    later = datetime.now(UTC) + timedelta(minutes=15)
    health = sync_health.read_health(store.database, later)
    found = sync_health.observe(health, datetime(2020, 1, 1, tzinfo=UTC), later)
    every = [finding for each in found for finding in each.findings]
    return [each for each in every if each.fingerprint == "rows-overdue"]


@pytest.fixture
def sync(store, emulator, tmp_path):
    def run(service=emulator, **options):
        return run_sync(
            store,
            emulator_settings(service),
            tmp_path / "tokens.json",
            SyncOptions(**({"retry": IMPATIENT} | options)),
        )

    return run


def meddling(act):
    """A sink that lets somebody act between each answer and its mark."""

    class Meddled(DataverseSink):
        async def deliver(self, metrics, deadline):
            delivery = await super().deliver(metrics, deadline)
            act(metrics)
            return delivery

    return Meddled


def once(url, statement):
    """Carry out a statement at the first answer."""
    statements = iter([statement])

    def act(_):
        for each in statements:
            execute(url, each)

    return act


def test_rows_that_change_while_they_travel_are_not_marked_with_their_old_values(
    sync, store, emulator, database_url
):
    insert_many(database_url, 400)
    newest = "(SELECT id FROM campaign_metrics ORDER BY created_at DESC LIMIT 300)"
    report = sync(
        make_sink=meddling(once(database_url, f"{CHANGE} WHERE id IN {newest}")),
        stream=StreamOptions(page_size=400, rows_per_request=100),
    )
    assert report.failure is None
    assert (report.delivered, report.changed, report.remaining) == (100, 300, 300)
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert (run.delivered, run.changed, run.deleted, run.locked) == (100, 300, 0, 0)
    assert sync().delivered == 300
    assert differences(emulator, database_url) == []


def test_one_row_that_changes_just_now_is_sent_again_by_the_same_run(
    sync, emulator, database_url
):
    insert_many(database_url, 1)
    report = sync(make_sink=meddling(once(database_url, CHANGE)))
    assert report.failure is None
    assert (report.delivered, report.changed, report.remaining) == (1, 1, 0)
    assert differences(emulator, database_url) == []


def test_rows_that_change_faster_than_they_are_sent_are_left_to_the_next_run(
    sync, store, emulator, database_url
):
    insert_many(database_url, 1)
    report = sync(make_sink=meddling(lambda _: execute(database_url, CHANGE)))
    assert report.failure is None
    assert (report.delivered, report.changed, report.remaining) == (0, 3, 1)
    assert store.ask(run_ledger.last_runs, 1)[0].status is RunStatus.SUCCESS
    assert sync().delivered == 1
    assert differences(emulator, database_url) == []


@contextmanager
def holding(url, statement):
    with psycopg.connect(url, application_name="nightly report") as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


def test_rows_that_another_transaction_holds_are_left_to_the_next_run(
    sync, emulator, database_url
):
    insert_many(database_url, 20)
    oldest = "(SELECT id FROM campaign_metrics ORDER BY created_at LIMIT 8)"
    with holding(database_url, f"{CHANGE} WHERE id IN {oldest}"):
        report = sync()
    assert report.failure is None
    assert (report.delivered, report.locked, report.remaining) == (12, 8, 8)
    assert sync().delivered == 8
    assert differences(emulator, database_url) == []


def test_rows_that_are_all_held_are_left_to_the_next_run_and_counted(
    sync, store, database_url
):
    insert_many(database_url, 5)
    with holding(database_url, CHANGE):
        report = sync()
    assert (report.failure, report.delivered, report.remaining) == (None, 0, 5)
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert run.status is RunStatus.SUCCESS
    assert run.locked >= 5
    assert sync().delivered == 5


def test_held_rows_that_wait_for_too_long_are_reported_with_who_holds_them(
    sync, store, database_url
):
    insert_many(database_url, 5)
    with holding(database_url, CHANGE):
        sync()
        (finding,) = overdue(store)
    assert "locked 15 times" in finding.cause
    assert "application nightly report, process " in finding.cause
    sync()
    assert overdue(store) == []


def test_rows_that_change_for_too_long_are_reported(sync, store, database_url):
    insert_many(database_url, 1)
    sync(make_sink=meddling(lambda _: execute(database_url, CHANGE)))
    (finding,) = overdue(store)
    assert "changed 3 times" in finding.cause


def test_rows_that_are_deleted_while_they_travel_are_counted_apart(
    sync, emulator, database_url
):
    insert_many(database_url, 10)
    report = sync(
        make_sink=meddling(
            lambda _: execute(database_url, "DELETE FROM campaign_metrics")
        )
    )
    assert report.failure is None
    assert (report.delivered, report.deleted, report.remaining) == (0, 10, 0)
    found = query(database_url, "SELECT kind, record_id FROM dataverse_finding")
    assert {record for _, record in found} == delivered(emulator)
    assert {kind for kind, _ in found} == {"unknown"}


SWALLOW = """
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER frozen BEFORE UPDATE ON campaign_metrics
        FOR EACH ROW EXECUTE FUNCTION swallow();
"""


def test_a_mark_that_is_swallowed_fails_the_run_at_the_first_page(
    sync, store, emulator, database_url
):
    insert_many(database_url, 5000)
    execute(database_url, SWALLOW)
    report = sync(stream=StreamOptions(rows_per_request=100))
    assert isinstance(report.failure, MarkSwallowedError)
    assert "trigger frozen" in str(report.failure)
    assert (report.delivered, report.remaining) == (0, 5000)
    # The first request goes alone; a few more were under way when it was found out.
    assert len(emulator.records()) < 2500
    assert store.ask(run_ledger.last_runs, 1)[0].status is RunStatus.FAILURE
    execute(database_url, "DROP TRIGGER frozen ON campaign_metrics")
    assert sync().delivered == 5000


def test_a_slice_keeps_to_the_same_rules(sync, emulator, database_url):
    insert_many(database_url, 10)
    assert sync().delivered == 10
    everything = Slice(until=datetime.now(UTC) + timedelta(days=1))
    one = "(SELECT id FROM campaign_metrics ORDER BY created_at LIMIT 1)"
    report = sync(
        part=everything,
        make_sink=meddling(once(database_url, f"{CHANGE} WHERE id = {one}")),
    )
    assert report.failure is None
    assert (report.delivered, report.changed, report.part_left) == (9, 1, 1)
    assert len(marked(database_url)) == 9
    assert sync().delivered == 1
    assert differences(emulator, database_url) == []
    execute(database_url, SWALLOW)
    assert isinstance(sync(part=everything).failure, MarkSwallowedError)


def test_a_service_that_fails_until_the_time_is_over_fails_the_run(
    sync, emulator, database_url
):
    insert_many(database_url, 5)
    emulator.fault("status", status=503, count=10_000, path="UpsertMultiple")
    report = sync(time_budget=1.0, retry=PATIENT)
    assert isinstance(report.failure, NoProgressError)
    assert "Dataverse failed to upsert 5 records" in str(report.failure)


def test_an_authority_that_fails_until_the_time_is_over_fails_the_run(
    sync, emulator, database_url
):
    insert_many(database_url, 5)
    emulator.fault("status", status=503, count=10_000, path="/oauth2/v2.0/token")
    report = sync(time_budget=1.0, retry=PATIENT)
    assert report.requests == 0
    assert isinstance(report.failure, TransientError)


@pytest.mark.parametrize(
    ("tally", "elapsed", "fails"),
    [
        (Tally(), 240.0, True),
        (Tally(out_of_time=OutOfTimeError("The time budget is used up.")), 240.0, True),
        # The rows were gone before they were read.
        (Tally(), 1.0, False),
        (Tally(rows_read=5, locked=5), 240.0, False),
    ],
)
def test_a_run_that_had_rows_and_no_time_to_read_them_fails(tally, elapsed, fails):
    found = lack_of_progress(
        tally, throttled_seconds=0.0, elapsed=elapsed, next_rows=100, time_budget=240.0
    )
    assert isinstance(found, NoProgressError) == fails


def test_a_short_pause_early_in_a_run_excuses_nothing(sync, emulator, database_url):
    insert_many(database_url, 5)
    emulator.fault("status", status=429, retry_after=1, count=1, path="UpsertMultiple")
    emulator.fault("status", status=503, count=10_000, path="UpsertMultiple")
    report = sync(time_budget=4.0, retry=PATIENT)
    assert report.throttled_seconds >= 1
    assert isinstance(report.failure, NoProgressError)


@pytest.mark.parametrize(
    ("ended", "throttled", "excused"),
    [
        (None, 0.0, False),
        (OutOfTimeError("The time budget is used up."), 100.0, False),
        (OutOfTimeError("The time budget is used up."), 140.0, True),
        (OutOfTimeError("It throttles.", retry_at=datetime.now(UTC)), 0.0, True),
    ],
)
def test_a_pause_for_most_of_a_run_or_at_its_end_excuses_it(ended, throttled, excused):
    assert had_to_wait(ended, throttled, 240.0) == excused


def test_that_dataverse_asks_us_to_wait_is_no_failure(sync, emulator, database_url):
    insert_many(database_url, 5)
    emulator.fault("status", status=429, code="0x80072322", retry_after=60, count=9)
    report = sync(time_budget=1.0)
    assert (report.failure, report.delivered) == (None, 0)
    assert report.retry_at is not None


@pytest.mark.parametrize("seconds", [1, 60])
def test_that_a_gateway_asks_us_to_wait_is_a_failure_that_names_it(
    sync, store, emulator, database_url, seconds
):
    insert_many(database_url, 5)
    emulator.fault("html", status=429, retry_after=seconds, count=None)
    report = sync(time_budget=2.5)
    assert isinstance(report.failure, NoProgressError)
    assert "HTTP 429, text/html" in str(report.failure)
    assert "throttles" not in str(report.failure)
    assert (report.retry_at, report.throttled_seconds) == (None, 0.0)
    # The pause is kept nevertheless.
    key = f"{emulator.url} {emulator.client_id}"
    assert store.ask(stored_pacing.retry_at, key) is not None


def test_a_service_that_is_too_slow_is_named_and_gets_less_the_next_time(
    sync, database_url
):
    """A hundred rows take three times the timeout, and a dozen a third of it."""
    insert_many(database_url, 100)
    slow = Options(client_secret="of no use elsewhere", profile=Profile(upsert=0.03))
    with serve(slow) as service:
        first = sync(service, time_budget=2.5, request_timeout=1.0)
        assert isinstance(first.failure, NoProgressError)
        assert "the next run sends" in str(first.failure).lower()
        assert first.rows_per_request < 100
        second = sync(service, time_budget=60.0, request_timeout=1.0)
        assert second.failure is None
        assert second.delivered > 0
        assert delivered(service) >= marked(database_url)
        assert second.delivered + second.remaining == 100


def test_the_size_that_was_best_outlives_the_run_unless_somebody_chose_it(
    sync, emulator, database_url
):
    insert_many(database_url, 3000)
    # Of requests that take as long whatever they hold, the large ones are better.
    emulator.fault("slow", delay=0.3, count=10_000, path="UpsertMultiple")
    assert (
        sync(stream=StreamOptions(rows_per_request=7, limit=70)).rows_per_request == 7
    )
    found = sync()
    assert found.rows_per_request > 100
    insert_many(database_url, 1)
    assert sync().rows_per_request == found.rows_per_request
