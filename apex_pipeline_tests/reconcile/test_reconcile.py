"""Comparing rows with their records finds every difference and nothing else."""

import asyncio
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from apex_pipeline.audit import trail
from apex_pipeline.audit.events import Action
from apex_pipeline.dataverse.environment import connect
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import InterceptedError, NoProgressError, TransientError
from apex_pipeline.postgres import migrations, stored_pacing
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.reconcile import progress
from apex_pipeline.reconcile.agreement import read_agreement
from apex_pipeline.reconcile.dataverse_records import Records
from apex_pipeline.reconcile.findings import FindingKind
from apex_pipeline.reconcile.progress import ReconciliationRun
from apex_pipeline.reconcile.row_examination import Examination
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline.sync.request_delivery import DataverseSink
from apex_pipeline.texts.redaction import OURS
from apex_pipeline_tests.support.emulator_server import SET
from apex_pipeline_tests.support.ends import (
    campaign_row,
    differences,
    emulator_settings,
    environment,
    execute,
    insert,
    insert_many,
    marked,
    query,
)
from apex_pipeline_tests.support.reconciling import (
    api,
    as_record,
    asked,
    database,
    found,
    ids,
    numbered,
    old_flow,
    reconcile,
    report,
    sync,
)

__all__ = ["api", "database", "reconcile", "report", "sync"]

pytestmark = pytest.mark.any_server


def test_equal_ends_have_no_findings(sync, reconcile, database_url):
    insert_many(database_url, 120)
    sync()
    run, standing = reconcile()
    assert standing.is_settled
    assert (run.is_complete, run.rows_compared, run.note) == (True, 120, None)


def test_each_kind_of_damage_is_found_and_named(sync, reconcile, api, database_url):
    insert_many(database_url, 12)
    sync()
    missing, different, held_twice, *_ = ids(database_url)
    api.delete(f"{SET}({missing})")
    api.patch(f"{SET}({different})", json={"apex_costusd": 9.5, "apex_phase": "x"})
    double = old_flow(api, database_url, held_twice)
    unknown = old_flow(api, database_url, missing, apex_runid="nobody's")
    _, standing = reconcile()
    assert found(standing) == {
        (FindingKind.MISSING, missing),
        (FindingKind.DIFFERENT, different, "phase", "cost_usd"),
        (FindingKind.DOUBLE, double),
        (FindingKind.UNKNOWN, unknown),
    }
    # It stays so, however little has changed since.
    assert found(reconcile()[1]) == found(standing)
    (record,) = [
        each.record_id
        for each in standing.examples
        if each.kind is FindingKind.DIFFERENT
    ]
    assert record == different


@pytest.mark.parametrize(
    "change",
    [
        {"apex_campaignid": "c"},
        {"apex_runid": None},
        {"apex_phase": ""},
        {"apex_agentstotal": 0},
        {"apex_agentssuccessful": None},
        {"apex_assetsgenerated": 1},
        {"apex_tokensin": -1},
        {"apex_tokensout": 2},
        {"apex_costusd": 0.00349},
        {"apex_latencyp95ms": 3},
        {"apex_latencyavgms": 4},
        {"apex_successrate": 80.01},
        {"apex_createdat": "2026-10-30T13:00:01Z"},
        {"apex_createdat": None},
    ],
)
def test_each_of_the_columns_is_compared(sync, reconcile, api, database_url, change):
    insert(database_url, [campaign_row(id=numbered(7)), campaign_row()])
    sync()
    api.patch(f"{SET}({numbered(7)})", json=change)
    ((kind, key, column),) = found(reconcile()[1])
    assert (kind, key) == (FindingKind.DIFFERENT, str(numbered(7)))
    assert f"apex_{column.replace('_', '')}".startswith(next(iter(change)))


def test_a_figure_that_became_no_number_hides_no_damage(
    sync, reconcile, api, database_url
):
    insert_many(database_url, 3)
    sync()
    missing, different, _ = ids(database_url)
    api.delete(f"{SET}({missing})")
    for row_id in (missing, different):
        execute(
            database_url,
            f"UPDATE campaign_metrics SET cost_usd = 'NaN' WHERE id = '{row_id}'",
        )
    assert found(reconcile()[1]) == {
        (FindingKind.MISSING, missing),
        (FindingKind.DIFFERENT, different, "cost_usd"),
    }


def test_repair_lets_the_next_sync_send_what_is_missing_or_differs(
    sync, reconcile, api, emulator, database_url
):
    insert_many(database_url, 30)
    sync()
    missing, different, *_ = ids(database_url)
    unknown = old_flow(api, database_url, missing, apex_phase="none")
    api.delete(f"{SET}({missing})")
    api.patch(f"{SET}({different})", json={"apex_tokensin": 0})
    run, standing = reconcile(repair=True)
    assert run.repaired == 2
    assert found(standing) == {(FindingKind.UNKNOWN, unknown)}
    assert marked(database_url) == set(ids(database_url)) - {missing, different}
    with Database(database_url, application_name="tests") as database:
        event = database.ask(trail.newest_of, Action.REPAIR)
    assert event is not None
    assert event["outcome"] == "done"
    assert event["subject"] == {
        "environment": emulator.url,
        "rows": sorted([missing, different]),
    }
    sync()
    assert differences(emulator, database_url) == []
    assert found(reconcile()[1]) == {(FindingKind.UNKNOWN, unknown)}
    api.delete(f"{SET}({unknown})")
    assert reconcile()[1].is_settled


def test_pending_and_quarantined_rows_raise_no_alarm(
    sync, reconcile, emulator, database_url
):
    insert(database_url, [campaign_row(), campaign_row(phase="x" * 17)])
    sync()
    insert_many(database_url, 5)
    # Sent, and not marked: as a sync leaves a row that is killed in between.
    execute(
        database_url,
        "UPDATE campaign_metrics SET exported_at = NULL, tokens_in = 3"
        " WHERE exported_at IS NOT NULL",
    )
    assert len(emulator.records()) == 1
    assert reconcile()[1].is_settled


def test_rows_that_come_go_and_are_delivered_meanwhile_raise_no_alarm(
    sync, reconcile, emulator, database_url
):
    insert_many(database_url, 300)
    sync()
    reconcile()
    emulator.fault("slow", delay=0.02, count=100_000, path=SET)
    stop = threading.Event()

    def keep_delivering():
        while not stop.is_set():
            insert_many(database_url, 20)
            sync()

    delivering = threading.Thread(target=keep_delivering)
    delivering.start()
    try:
        for _ in range(2):
            run, standing = reconcile(full=True, rows_per_window=40)
            assert found(standing) == set()
            assert run.is_complete
    finally:
        stop.set()
        delivering.join()


@pytest.mark.parametrize(
    "meddling",
    [
        "UPDATE campaign_metrics SET exported_at = NULL",
        "UPDATE campaign_metrics SET tokens_in = tokens_in + 1",
        "DELETE FROM campaign_metrics",
    ],
)
def test_a_row_that_moves_while_it_is_looked_at_is_left_to_the_next_run(
    sync, emulator, api, database, database_url, tmp_path, meddling
):
    """The rows change after they were read, and before their records are read."""
    insert_many(database_url, 4)
    sync()
    missing, different, *_ = ids(database_url)
    api.delete(f"{SET}({missing})")
    api.patch(f"{SET}({different})", json={"apex_tokensin": 0})

    class Meddling(Records):
        async def by_key(self, keys):
            execute(database_url, meddling)
            return await super().by_key(keys)

    async def look():
        async with connect(
            emulator_settings(emulator), tmp_path / "tokens.json"
        ) as environment:
            records = Meddling(environment.client, Deadline())
            looking = Examination(database, emulator.url, records)
            await looking.by_key([*map(numbered, range(3)), *keys])

    keys = [key for (key,) in query(database_url, "SELECT id FROM campaign_metrics")]
    asyncio.run(look())
    assert found(read_agreement(database, emulator.url)) == set()


def test_a_second_that_holds_more_than_a_window_is_compared_by_key(
    sync, reconcile, emulator, api, database_url
):
    insert(database_url, [campaign_row() for _ in range(60)])
    insert(database_url, [campaign_row(created_at="2026-10-30 13:00:01+00")])
    sync()
    missing, different, *_, last = ids(database_url)
    api.delete(f"{SET}({missing})")
    api.delete(f"{SET}({last})")
    api.patch(f"{SET}({different})", json={"apex_tokensin": 0})
    unknown = old_flow(api, database_url, different, apex_phase="none")
    run, standing = reconcile(rows_per_window=10)
    assert found(standing) == {
        (FindingKind.MISSING, missing),
        (FindingKind.MISSING, last),
        (FindingKind.DIFFERENT, different, "tokens_in"),
        (FindingKind.UNKNOWN, unknown),
    }
    assert run.is_complete


def test_rows_and_records_without_a_time_or_with_an_odd_one_are_compared(
    sync, reconcile, api, database_url
):
    execute(database_url, "ALTER TABLE campaign_metrics ALTER created_at DROP NOT NULL")
    odd = ["infinity", "-infinity", "1600-01-01 00:00+00", "20000-01-01 00:00+00", None]
    rows = [
        campaign_row(id=numbered(number), created_at=at)
        for number, at in enumerate(odd, 1)
    ]
    last = "9999-12-31 23:59:59.9+00"
    edges = ["1753-01-01 00:00:00+00", last, last]
    insert(database_url, rows + [campaign_row(created_at=at) for at in edges])
    sync()
    # Each edge in a window of its own, which reaches a second beyond it.
    assert reconcile(rows_per_window=1)[1].is_settled
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")
    api.patch(
        f"{SET}({numbered(1)})", json=as_record(database_url, ids(database_url)[2])
    )
    undated = old_flow(
        api, database_url, ids(database_url)[2], apex_createdat=None, apex_phase="x"
    )
    assert found(reconcile(full=True)[1]) == {
        (FindingKind.DIFFERENT, str(numbered(1)), "created_at"),
        *((FindingKind.MISSING, str(numbered(number))) for number in (2, 3, 4, 5)),
        (FindingKind.UNKNOWN, undated),
    }


def test_ids_of_text_are_compared_in_whatever_case_they_are(
    reconcile, sync, database_url
):
    execute(database_url, "DROP VIEW campaign_metrics_pending, dataverse_finding")
    execute(
        database_url,
        "DROP VIEW v_campaign_metrics_pending, quarantined_campaign_metrics",
    )
    for table, column in (
        ("campaign_metrics", "id"),
        ("adopted_record", "metric_id"),
        ("reconciliation_finding", "metric_id"),
        ("foreign_record", "metric_id"),
        ("campaign_metrics_quarantine", "metric_id"),
    ):
        execute(database_url, f"ALTER TABLE {table} ALTER {column} TYPE text")
    execute(
        database_url,
        "DELETE FROM _yoyo_migration"
        " WHERE migration_id IN ('0005_quarantine', '0011_reconciliation')",
    )
    migrations.apply(database_url)
    upper = "00000000-0000-4000-8000-00000000000A"
    insert(database_url, [campaign_row(id=upper), campaign_row(id=str(numbered(9)))])
    sync()
    assert reconcile()[1].is_settled
    insert(database_url, [campaign_row(id="not one")])
    execute(database_url, "UPDATE campaign_metrics SET exported_at = now()")
    assert found(reconcile(full=True)[1]) == {(FindingKind.MISSING, "not one")}
    run, standing = reconcile(repair=True)
    assert (run.repaired, standing.is_settled) == (1, True)


def test_days_looks_at_those_alone(sync, reconcile, api, database_url):
    insert(
        database_url,
        [
            campaign_row(id=numbered(1), created_at=datetime.now(UTC)),
            campaign_row(
                id=numbered(2), created_at=datetime.now(UTC) - timedelta(days=9)
            ),
        ],
    )
    sync()
    api.delete(f"{SET}({numbered(1)})")
    api.delete(f"{SET}({numbered(2)})")
    assert found(reconcile(days=3)[1]) == {(FindingKind.MISSING, str(numbered(1)))}
    assert len(found(reconcile(days=10)[1])) == 2


def test_after_the_first_pass_requests_follow_what_changed(
    sync, reconcile, emulator, api, database_url
):
    insert_many(database_url, 2000)
    sync()
    # A small window makes a full pass dear: sixteen requests and more.
    first, _ = reconcile(rows_per_window=125)
    assert first.requests >= 16

    emulator.clear_requests()
    quiet, _ = reconcile(rows_per_window=125)
    assert len(asked(emulator)) == quiet.requests
    # What was marked shortly before is looked at once more; 2 000 by 250.
    execute(
        database_url,
        "UPDATE campaign_metrics SET exported_at = exported_at - interval '2 hours'",
    )
    quiet, _ = reconcile(rows_per_window=125)
    # The changes, of which there are none, and one window of the round.
    assert quiet.requests == 2
    gone, *changed = ids(database_url)[:30]
    api.delete(f"{SET}({gone})")
    for key in changed:
        api.patch(f"{SET}({key})", json={"apex_phase": "new"})
    later, standing = reconcile(rows_per_window=125)
    assert later.changes_read == 30
    assert later.requests == 3
    assert standing.counts[FindingKind.DIFFERENT] == 29
    assert standing.counts[FindingKind.MISSING] == 1


def test_rows_marked_since_are_looked_at_though_dataverse_has_nothing_to_tell(
    sync, reconcile, database_url
):
    insert_many(database_url, 10)
    sync()
    reconcile()
    # As somebody does who takes the marks for granted.
    insert(database_url, [campaign_row(id=numbered(5), created_at="2020-01-01")])
    execute(
        database_url,
        "UPDATE campaign_metrics SET exported_at = now() WHERE exported_at IS NULL",
    )
    # The round has come past the row, and does not come by it in this run.
    execute(
        database_url,
        "UPDATE reconciliation_progress SET pass_second = 1700000000,"
        " pass_started_at = now(), pass_is_full = false",
    )
    assert found(reconcile()[1]) == {(FindingKind.MISSING, str(numbered(5)))}


def test_a_finding_that_is_mended_in_postgres_is_gone_with_the_next_run(
    sync, reconcile, api, database_url
):
    """Neither side reports the change, and the round has already passed the row."""
    insert_many(database_url, 10)
    sync()
    changed, deleted, *_ = ids(database_url)
    reconcile()
    api.patch(f"{SET}({changed})", json={"apex_tokensin": 7})
    api.delete(f"{SET}({deleted})")
    assert len(found(reconcile()[1])) == 2
    execute(
        database_url,
        "UPDATE reconciliation_progress SET pass_second = 4000000000,"
        " pass_started_at = now(), exported_since = now() + interval '1 day'",
    )
    execute(
        database_url,
        f"UPDATE campaign_metrics SET tokens_in = 7 WHERE id = '{changed}'",
    )
    execute(database_url, f"DELETE FROM campaign_metrics WHERE id = '{deleted}'")
    assert reconcile()[1].is_settled


def test_rows_that_were_changed_after_their_export_are_found_on_the_round(
    sync, reconcile, database_url
):
    insert_many(database_url, 90)
    sync()
    reconcile(rows_per_window=10)
    execute(
        database_url,
        "UPDATE campaign_metrics SET tokens_out = 1,"
        " exported_at = exported_at - interval '1 day' WHERE id IN"
        " (SELECT id FROM campaign_metrics ORDER BY created_at DESC LIMIT 5)",
    )
    counts = []
    for _ in range(12):
        _, standing = reconcile(rows_per_window=10)
        counts.append(standing.counts[FindingKind.DIFFERENT])
    assert counts[0] == 0
    assert counts[-1] == 5


@pytest.mark.parametrize("status", [501, 505, 530])
def test_what_fails_in_dataverses_place_costs_no_link(
    sync, reconcile, report, emulator, database_url, status
):
    insert_many(database_url, 50)
    sync()
    reconcile()
    emulator.fault("html", status=status, count=None)
    ended = report(retry=RetryPolicy(attempts=2, first_wait=0.001))
    assert isinstance(ended.failure, InterceptedError)
    emulator.clear_faults()
    emulator.clear_requests()
    reconcile()
    assert sum("deltatoken" in each for each in asked(emulator)) == 1


def test_an_expired_link_leads_to_a_full_pass(
    sync, reconcile, emulator, api, database_url
):
    insert_many(database_url, 50)
    sync()
    reconcile()
    gone = ids(database_url)[-1]
    api.delete(f"{SET}({gone})")
    execute(
        database_url,
        "UPDATE campaign_metrics SET exported_at = exported_at - interval '2 hours'",
    )
    execute(
        database_url,
        "UPDATE reconciliation_progress SET tracking_link = regexp_replace("
        "tracking_link, '%21.*', '%2101%2F01%2F2001%2000%3A00%3A00')",
    )
    run, standing = reconcile(rows_per_window=20)
    assert found(standing) == {(FindingKind.MISSING, gone)}
    assert run.rows_compared >= 50
    emulator.clear_requests()
    reconcile(rows_per_window=20)
    assert sum("deltatoken" in each for each in asked(emulator)) == 1


def test_progress_is_kept_from_run_to_run(sync, reconcile, api, database_url):
    insert_many(database_url, 100)
    sync()
    gone = ids(database_url)[-1]
    api.delete(f"{SET}({gone})")
    runs: list[ReconciliationRun] = []
    while not runs or not runs[-1].is_complete:
        run, standing = reconcile(rows_per_window=10, requests=6)
        runs.append(run)
        assert len(runs) < 20
    assert len(runs) > 2
    assert all("is used up" in str(run.note) for run in runs[:-1])
    assert found(standing) == {(FindingKind.MISSING, gone)}


def test_a_run_that_asked_and_compared_nothing_fails_and_says_why(
    report, emulator, sync, database_url
):
    insert_many(database_url, 10)
    sync()
    emulator.fault("status", status=503, count=1000)
    patient = RetryPolicy(attempts=1000, first_wait=0.05, longest_wait=0.05)
    ended = report(time_budget=1, retry=patient)
    assert isinstance(ended.failure, NoProgressError)
    assert ended.run.status is RunStatus.FAILURE
    emulator.clear_faults()
    assert report().failure is None


def test_a_short_pause_early_in_a_comparison_excuses_nothing(
    report, emulator, sync, database_url
):
    insert_many(database_url, 10)
    sync()
    emulator.fault("status", status=429, retry_after=1, count=1)
    emulator.fault("status", status=503, count=10_000)
    patient = RetryPolicy(attempts=1000, first_wait=0.05, longest_wait=0.05)
    ended = report(time_budget=4, retry=patient)
    assert isinstance(ended.failure, NoProgressError)


def test_a_run_that_was_killed_is_closed_by_the_next(
    reconcile, database, emulator, database_url
):
    at = datetime.now(UTC)
    number = database.transact(lambda c: progress.start_run(c, emulator.url, at, None))
    reconcile()
    runs = database.transact(lambda c: progress.last_runs(c, 5))
    assert [run.status for run in runs] == [RunStatus.SUCCESS, RunStatus.INTERRUPTED]
    assert runs[1].id == number


def test_the_end_of_a_run_is_stored_without_secrets_whatever_it_says(database):
    OURS.remember("a-secret-value")
    at = datetime.now(UTC)
    number = database.transact(lambda c: progress.start_run(c, "https://x", at, None))
    ended = ReconciliationRun(
        status=RunStatus.FAILURE,
        finished_at=at,
        counts=None,
        error="It says a\0b, \ud800 and a-secret-value.",
    )
    database.transact(lambda c: progress.finish_run(c, number, ended))
    (run,) = database.transact(lambda c: progress.last_runs(c, 1))
    assert run.error.startswith("It says a\N{REPLACEMENT CHARACTER}b, ? and ")
    assert "secret" not in run.error


def test_an_open_retry_after_is_respected_and_a_new_one_left_to_the_sync(
    report, store, emulator, sync, database_url
):
    key = pacing_key(emulator_settings(emulator))
    until = datetime.now(UTC) + timedelta(minutes=5)
    store.ask(stored_pacing.save_pacing, key, {"paused_by": "HTTP 429"}, until)
    assert report().skipped.endswith("UTC (HTTP 429)")
    assert sync().skipped.endswith("UTC (HTTP 429)")
    store.ask(stored_pacing.save_pacing, key, {}, None)
    emulator.fault("status", status=429, count=1000, retry_after=300)
    ended = report(time_budget=1)
    assert ended.failure is None
    assert "throttles" in ended.run.note
    assert store.ask(stored_pacing.retry_at, key) > datetime.now(UTC)
    emulator.clear_faults()
    assert "no requests before" in sync().skipped


def test_the_sync_goes_on_beside_it_and_adopting_waits_for_the_sync(report, store):
    with store.writer_lock():
        assert report().failure is None
        assert "holds the writer lock" in report(adopt=True).skipped


_PEAK = """
import os, tracemalloc
from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile.run_report import ReconcileOptions
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.settings import load_settings
settings = load_settings(os.environ)
with Database(settings.database_url, application_name="tests") as database:
    tracemalloc.start()
    report = run_reconciliation(
        database, settings.dataverse, settings.token_cache_path,
        ReconcileOptions(rows_per_window=200, full=True),
    )
    print(tracemalloc.get_traced_memory()[1], report.run.rows_compared)
assert report.failure is None and report.run.is_complete
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(sync, emulator, database_url, tmp_path):
    """Run in its own process, because the emulator keeps every request.

    Half of the rows share one second. It holds more rows than are read at once, and
    then five times as many.
    """
    variables = environment(emulator, database_url, tmp_path)
    peaks = []
    for count in (2_000, 8_000):
        insert_many(database_url, count)
        execute(
            database_url,
            "UPDATE campaign_metrics SET created_at = '2026-10-30' WHERE tokens_in"
            " % 2 = 0 AND exported_at IS NULL",
        )
        while sync().remaining:
            pass
        ended = subprocess.run(
            [sys.executable, "-c", _PEAK],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        peak, compared = map(int, ended.stdout.split())
        assert compared == len(marked(database_url))
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.3


def test_a_request_that_is_carried_out_late_is_found_by_the_next_comparison_and_repaired(
    sync, reconcile, emulator, database_url
):
    """A gateway held it back; meanwhile its row changed, and was sent again."""
    insert_many(database_url, 3)
    stale = []

    class HeldBack(DataverseSink):
        async def deliver(self, metrics, deadline):
            stale.extend(metrics)
            return Delivery(failure=TransientError("No answer within 120 s."))

    class Late(DataverseSink):
        async def deliver(self, metrics, deadline):
            delivery = await super().deliver(metrics, deadline)
            await super().deliver(stale, deadline)
            return delivery

    assert sync(make_sink=HeldBack).delivered == 0
    execute(database_url, "UPDATE campaign_metrics SET tokens_in = tokens_in + 7")
    reconcile()
    assert sync(make_sink=Late).delivered == 3
    assert len(differences(emulator, database_url)) == 3

    _, standing = reconcile()
    assert found(standing) == {
        (FindingKind.DIFFERENT, row, "tokens_in") for row in ids(database_url)
    }
    reconcile(repair=True)
    assert sync().delivered == 3
    assert differences(emulator, database_url) == []
