"""One run of the sync between a real Postgres and the served emulator."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import (
    CutoverError,
    TransientError,
    WriterLockLostError,
)
from apex_pipeline.monitoring.status import read_status
from apex_pipeline.postgres import migrations, run_ledger, stored_pacing
from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.postgres.store import connect
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.waiting import wait_until

pytestmark = pytest.mark.any_server

IMPATIENT = RetryPolicy(attempts=3, first_wait=0.01)


@pytest.fixture
def sync(store, emulator, tmp_path):
    def run(*, settings=None, **options):
        return run_sync(
            store,
            settings or emulator_settings(emulator),
            tmp_path / "tokens.json",
            SyncOptions(**({"retry": IMPATIENT} | options)),
        )

    return run


def writes(emulator):
    return [
        r
        for r in emulator.requests()
        if r["method"] in {"POST", "PATCH"}
        if "/api/data" in r["path"]
    ]


def test_five_thousand_rows_arrive_exact_to_the_column(
    sync, store, emulator, database_url
):
    insert_many(database_url, 5000)
    report = sync(stream=StreamOptions(rows_per_request=100))
    assert report.failure is None
    assert (report.rows_read, report.delivered, report.rejected, report.remaining) == (
        5000,
        5000,
        0,
        0,
    )
    assert differences(emulator, database_url) == []
    assert len(marked(database_url)) == 5000
    assert len(writes(emulator)) == 50
    assert report.token_cache_misses == 1
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert (run.status, run.delivered, run.requests) == (RunStatus.SUCCESS, 5000, 51)


def test_running_again_sends_nothing(sync, emulator, database_url):
    insert_many(database_url, 10)
    sync()
    emulator.clear_requests()
    report = sync()
    assert (report.rows_read, report.delivered, report.requests) == (0, 0, 0)
    assert emulator.requests() == []


def test_the_limit_leaves_the_newest(sync, emulator, database_url):
    insert_many(database_url, 20)
    report = sync(stream=StreamOptions(limit=5))
    assert (report.delivered, report.remaining) == (5, 15)
    oldest = query(
        database_url,
        "SELECT id::text FROM campaign_metrics ORDER BY created_at LIMIT 5",
    )
    assert delivered(emulator) == {one for (one,) in oldest}


def test_a_dry_run_leaves_no_trace(sync, store, emulator, database_url):
    insert_many(database_url, 20)
    report = sync(stream=StreamOptions(dry_run=True))
    assert (report.rows_read, report.delivered, report.remaining) == (20, 0, 20)
    assert emulator.requests() == []
    assert store.ask(run_ledger.last_runs, 1) == []


def test_bad_rows_are_put_aside_with_reasons_and_the_others_land(
    sync, emulator, database_url
):
    """An adopted table may contain values that ours would refuse."""
    with psycopg.connect(database_url) as connection:
        ((view,),) = connection.execute(
            "SELECT pg_get_viewdef('campaign_metrics_pending')"
        ).fetchall()
        connection.execute(
            "DROP VIEW campaign_metrics_pending, v_campaign_metrics_pending"
        )
        connection.execute(
            "ALTER TABLE campaign_metrics ALTER tokens_in TYPE bigint,"
            " ALTER cost_usd TYPE numeric"
        )
        connection.execute(f"CREATE VIEW campaign_metrics_pending AS {view}")
    bad = {
        "tokens_in": 2**31,
        "phase": "x" * 17,
        "cost_usd": "NaN",
        "created_at": "0001-01-01 00:00:00+00",
    }
    rows = [campaign_row(**{name: value}) for name, value in bad.items()]
    insert(database_url, [*rows, campaign_row(), campaign_row()])
    report = sync()
    assert report.failure is None
    assert (report.delivered, report.rejected, report.remaining) == (2, 4, 0)
    reasons = dict(
        query(
            database_url,
            "SELECT metric_id::text, message FROM campaign_metrics_quarantine",
        )
    )
    for row, name in zip(rows, bad, strict=True):
        assert reasons[str(row["id"])].startswith(name)


@pytest.fixture
def text_ids_url(empty_database_url):
    """A table created by others, with text ids."""
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE TABLE campaign_metrics (id text PRIMARY KEY)")
    migrations.apply(empty_database_url)
    return empty_database_url


@pytest.fixture
def sync_text_ids(text_ids_url, emulator, tmp_path):
    def run():
        with connect(text_ids_url) as store:
            return run_sync(
                store,
                emulator_settings(emulator),
                tmp_path / "tokens.json",
                SyncOptions(retry=IMPATIENT),
            )

    return run


def test_text_ids_that_differ_in_case_alone_are_one_record_and_one_quarantined_row(
    emulator, text_ids_url, sync_text_ids
):
    small, alone = str(uuid4()), str(uuid4()).upper()
    ids = [small, small.upper(), alone, *(str(uuid4()) for _ in range(5))]
    insert(text_ids_url, [campaign_row(id=one) for one in ids])
    report = sync_text_ids()
    assert report.failure is None
    assert (report.delivered, report.rejected) == (7, 1)
    assert delivered(emulator) == {one.lower() for one in ids}
    assert marked(text_ids_url) == set(ids) - {small.upper()}


def test_a_delivered_row_keeps_its_record_when_a_twin_in_small_letters_comes(
    emulator, text_ids_url, sync_text_ids
):
    first = str(UUID(int=0xABCDEF)).upper()
    insert(text_ids_url, [campaign_row(id=first, tokens_in=1)])
    assert sync_text_ids().delivered == 1
    insert(text_ids_url, [campaign_row(id=first.lower(), tokens_in=2)])
    report = sync_text_ids()
    assert (report.delivered, report.rejected) == (0, 1)
    (record,) = emulator.records()
    assert record["apex_tokensin"] == 1
    assert marked(text_ids_url) == {first}


def test_a_service_that_refuses_everything_fails_the_run_and_quarantines_nothing(
    sync, emulator, database_url
):
    insert_many(database_url, 500)
    emulator.fault("status", status=400, code="0x80040203", count=10_000)
    report = sync()
    assert report.failure is not None
    assert query(database_url, "SELECT * FROM campaign_metrics_quarantine") == []
    assert marked(database_url) == set()

    emulator.clear_faults()
    assert sync().delivered == 500
    assert delivered(emulator) == marked(database_url)


def test_a_service_that_dies_in_mid_run_keeps_what_it_acknowledged(
    sync, store, emulator, database_url
):
    insert_many(database_url, 2000)
    emulator.fault("status", status=503, count=10_000, skip=9, path="UpsertMultiple")
    report = sync(stream=StreamOptions(rows_per_request=100))
    assert isinstance(report.failure, TransientError)
    assert report.delivered == 900
    assert report.remaining == 1100
    assert marked(database_url) == delivered(emulator)
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert run.status is RunStatus.FAILURE
    assert "503" in (run.error or "")

    emulator.clear_faults()
    emulator.clear_requests()
    assert sync().delivered == 1100
    assert sum(r["targets"] or 0 for r in writes(emulator)) == 1100


def test_answers_lost_after_the_commit_make_no_second_record(
    sync, emulator, database_url
):
    insert_many(database_url, 1000)
    emulator.fault("drop_after", count=3, path="UpsertMultiple")
    assert sync().failure is None
    assert len(emulator.records()) == 1000
    assert differences(emulator, database_url) == []


def test_an_open_retry_after_outlives_the_run(sync, store, emulator, database_url):
    insert_many(database_url, 300)
    emulator.fault("status", status=429, retry_after=600, count=1, path="Upsert")
    report = sync(time_budget=20.0)
    assert report.failure is None
    assert report.delivered + report.remaining == 300
    assert report.remaining >= 100
    assert report.retry_at > datetime.now(UTC) + timedelta(minutes=9)
    settings = emulator_settings(emulator)
    assert store.ask(stored_pacing.retry_at, pacing_key(settings)) is not None
    status = read_status(store, settings)
    assert (status.throttled_until is not None, status.throttled_by) == (
        True,
        "HTTP 429",
    )

    emulator.clear_requests()
    report = sync()
    assert report.skipped is not None
    assert "no requests before" in report.skipped
    assert emulator.requests() == []


def test_a_429_on_the_look_at_the_table_is_no_failure_either(
    sync, emulator, database_url
):
    insert_many(database_url, 3)
    emulator.fault("status", status=429, retry_after=600, count=1)
    report = sync(time_budget=20.0)
    assert report.failure is None
    assert report.retry_at is not None
    assert report.remaining == 3


def test_a_bundle_without_certificates_is_in_the_ledger_too(
    sync, store, emulator, database_url, tmp_path
):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("nothing")
    report = sync(settings=emulator_settings(emulator, ca_bundle=bundle))
    assert "APEX_CA_BUNDLE" in str(report.failure)
    (run,) = store.ask(run_ledger.last_runs, 1)
    assert run.status is RunStatus.FAILURE


def test_two_syncs_at_once_are_one_and_one_that_says_so(
    sync, store, emulator, database_url
):
    insert_many(database_url, 10)
    with store.writer_lock():
        report = sync()
    assert report.skipped is not None
    assert "another sync holds the writer lock: role apex (" in report.skipped
    assert emulator.requests() == []
    assert sync().delivered == 10


def test_a_lock_connection_that_dies_stops_the_run_and_the_next_goes_on(
    sync, store, emulator, database_url
):
    insert_many(database_url, 2000)
    emulator.fault("slow", delay=0.1, count=100_000, path="UpsertMultiple")

    def end_the_lock_holder():
        wait_until(lambda: marked(database_url))
        return query(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE relation = CAST('writer_lock' AS regclass)"
            " AND database = (SELECT oid FROM pg_database"
            " WHERE datname = current_database()) AND granted",
        )

    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_the_lock_holder)
        report = sync(
            beat_seconds=0.05, stream=StreamOptions(rows_per_request=10, page_size=50)
        )
        assert ending.result() == [(True,)]
    assert isinstance(report.failure, WriterLockLostError)
    assert report.delivered < 2000
    assert marked(database_url) <= delivered(emulator)

    emulator.clear_faults()
    assert sync().failure is None
    assert delivered(emulator) == marked(database_url)
    assert len(emulator.records()) == 2000


def test_records_of_another_flow_are_refused_until_a_person_says_otherwise(
    sync, store, emulator, database_url
):
    insert_many(database_url, 3)
    sync()
    with psycopg.connect(database_url) as connection:
        # The records are there, and nothing here says that we made them.
        connection.execute("DELETE FROM dataverse_target")
        connection.execute("DELETE FROM campaign_metrics")
    insert_many(database_url, 5)
    report = sync()
    assert isinstance(report.failure, CutoverError)
    assert "--accept-duplicates" in str(report.failure)
    assert marked(database_url) == set()

    assert sync(accept_duplicates=True).delivered == 5
    insert_many(database_url, 1)
    assert sync().delivered == 1


def test_our_own_records_are_no_obstacle_to_a_first_delivery(
    sync, emulator, database_url
):
    insert_many(database_url, 3)
    sync()
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM dataverse_target")
    insert_many(database_url, 2)
    assert sync().delivered == 2


def test_a_refused_token_is_renewed_in_mid_run(sync, emulator, database_url):
    insert_many(database_url, 500)
    emulator.fault("unauthorized", count=1, skip=2)
    report = sync()
    assert report.failure is None
    assert report.delivered == 500


def test_money_is_exact(sync, emulator, database_url):
    insert(database_url, [campaign_row(cost_usd="99999.99999")])
    sync()
    (record,) = emulator.records()
    assert record["apex_costusd"] == Decimal("99999.99999")


def test_requests_keep_to_the_services_limits(sync, emulator, database_url):
    """Sixty requests per window: the run ends when its time is up, without a refusal."""
    insert_many(database_url, 100)
    emulator.set_limits(requests=60)
    report = sync(stream=StreamOptions(rows_per_request=1), time_budget=5.0)
    emulator.set_limits(requests=6000)
    assert report.failure is None
    assert 0 < report.delivered < 60
    assert report.delivered + report.remaining == 100
    assert [r for r in emulator.requests() if r["status"] == 429] == []
