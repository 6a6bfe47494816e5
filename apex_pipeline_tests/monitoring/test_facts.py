"""A figure that is shown in several places is the same in all of them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.schedules import no_run_needed
from apex_pipeline.defs.sync.sync_job import NOTHING_PENDING
from apex_pipeline.metrics import Rejection
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.doctor.recent_delivery import last_success
from apex_pipeline.monitoring.facts import read_facts
from apex_pipeline.monitoring.rules import health_watch, sync_health
from apex_pipeline.monitoring.rules.catalogue import ROWS_OVERDUE
from apex_pipeline.monitoring.rules.health_summary import reasons
from apex_pipeline.monitoring.status import read_status
from apex_pipeline.postgres import empty_looks
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.report.delivery_statistics import read_rows, read_runs
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    environment,
    insert,
)

NOW = datetime.now(UTC)


def ago(**duration: float) -> datetime:
    return NOW - timedelta(**duration)


@pytest.fixture
def quarantined(store, database_url):
    """Ids of four rows in quarantine."""
    rows = [campaign_row() for _ in range(4)]
    insert(database_url, rows)
    ids = [str(row["id"]) for row in rows]
    rejected = [Rejection(each, "invalid", "too long") for each in ids]
    # Not the module's time: five minutes later they are pending again.
    store.quarantine(rejected, datetime.now(UTC))
    return ids


def run(store, status=RunStatus.SUCCESS, *, at=NOW, **figures):
    number = store.start_run(at=at - timedelta(seconds=1), dagster_run_id=None)
    store.finish_run(number, RunRecord(status=status, finished_at=at, **figures))


def watched(database_url, empty_at=NOW, now=NOW):
    with Database(database_url, application_name="test") as database:
        health = sync_health.read_health(database, now)
    return {
        finding.fingerprint: finding
        for seen in sync_health.observe(health, empty_at, now)
        for finding in seen.findings
    }


def test_rows_that_were_deleted_marked_or_dropped_are_quarantined_nowhere(
    store, database_url, emulator, quarantined
):
    deleted, by_hand, dropped, left = quarantined
    assert dict(watched(database_url)["rows-quarantined"].facts) == {"Rows": "4"}
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM campaign_metrics WHERE id = %s", [deleted])
        connection.execute(
            "UPDATE campaign_metrics SET exported_at = now() WHERE id = %s", [by_hand]
        )
    store.drop(QuarantineSelection(ids=(dropped,)), Decision("old", "me"))
    status = read_status(store, emulator_settings(emulator))
    assert (status.quarantined, status.dropped) == (1, 1)
    assert dict(watched(database_url)["rows-quarantined"].facts) == {"Rows": "1"}
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM campaign_metrics WHERE id = %s", [left])
    assert "rows-quarantined" not in watched(database_url)
    assert store.ask(read_facts, NOW).quarantined == {}


def test_the_last_success_is_known_however_many_runs_have_failed_since(
    store, database_url, emulator
):
    run(store, at=ago(days=2), remaining=0)
    run(store, at=ago(days=1, minutes=1), remaining=7, delivered=1000)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO sync_run (started_at, finished_at, status, host, delivered) "
            "SELECT now() - interval '1 hour', now(), 'failure', 'h', 1 "
            "FROM generate_series(1, 400)"
        )
    status = read_status(store, emulator_settings(emulator))
    assert status.last_success_at == ago(days=1, minutes=1)
    assert status.delivered_24h == 400
    facts = store.ask(read_facts, NOW)
    assert facts.emptied_at == ago(days=2)
    assert str(last_success(store, NOW).measured).startswith("1,441 min ago")


def test_the_report_tells_what_the_status_tells(
    store, database_url, emulator, quarantined
):
    run(store, delivered=7, rejected=4, token_cache_hits=9, token_cache_misses=1)
    insert(database_url, [campaign_row()])
    status = read_status(store, emulator_settings(emulator))
    assert read_rows(store).pending == status.pending == 1
    totals = read_runs(store).totals
    assert totals == store.ask(read_facts, datetime.now(UTC)).day
    assert totals.delivered == status.delivered_24h == 7
    assert totals.token_hit_rate_pct == status.token_hit_rate_pct == 90


@pytest.mark.parametrize("minutes", [9, 11, 14, 16])
def test_lateness_is_the_same_for_all(store, database_url, emulator, minutes):
    now = datetime.now(UTC)
    run(store, at=now - timedelta(minutes=minutes), remaining=0)
    insert(database_url, [campaign_row(created_at=ago(days=90))])
    facts = store.ask(read_facts, now)
    assert facts.is_overdue() == (minutes > 10)
    assert facts.lacks_success() == (minutes > 15)
    assert read_status(store, emulator_settings(emulator)).is_overdue == (minutes > 10)
    is_late = last_success(store, now).state is CheckState.FAILED
    assert is_late == (minutes > 15)
    found = watched(database_url, now - timedelta(days=1), now)
    assert ("rows-overdue" in found) == (minutes > 10)
    assert ("no-success" in found) == (minutes > 15)


@pytest.fixture
def late(store, database_url, emulator, tmp_path):
    """What status, doctor, watch and `status --check` without a journal say is late."""
    variables = environment(emulator, database_url, tmp_path)

    def ask() -> set[str]:
        now = datetime.now(UTC)
        status = read_status(store, emulator_settings(emulator))
        said = {
            "status": status.is_overdue,
            "doctor": last_success(store, now).state is CheckState.FAILED,
            "watch": "rows-overdue" in watched(database_url, ago(days=1), now),
            "check": any(ROWS_OVERDUE.title in r for r in reasons(variables, now)),
        }
        return {name for name, is_late in said.items() if is_late}

    return ask


def due_again(database_url, **since):
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE campaign_metrics_quarantine SET next_attempt_at = now() - %s",
            [timedelta(**since)],
        )


@pytest.mark.parametrize(("minutes", "is_late"), [(1, False), (20, True)])
def test_a_row_that_is_tried_again_waits_since_it_became_due(
    store, database_url, quarantined, late, minutes, is_late
):
    run(store, at=ago(hours=20), remaining=0)
    due_again(database_url, minutes=minutes)
    assert late() == ({"status", "doctor", "watch", "check"} if is_late else set())
    now = datetime.now(UTC)
    since = store.ask(read_facts, now).waiting_since()
    assert abs(now - since - timedelta(minutes=minutes)) < timedelta(minutes=1)
    # A new row waits since it came; the other has waited longer.
    insert(database_url, [campaign_row(created_at=datetime.now(UTC))])
    assert store.ask(read_facts, datetime.now(UTC)).waiting_since() == since


def look_by_schedule(variables):
    assert no_run_needed(Services()) == NOTHING_PENDING


def look_by_watch(variables):
    around = health_watch.WatchSurroundings([], [], [])
    health_watch.look(variables, around, {}, datetime.now(UTC))


@pytest.mark.parametrize("look", [look_by_schedule, look_by_watch])
def test_a_row_that_came_late_waits_since_somebody_found_nothing_pending(
    store, database_url, emulator, tmp_path, monkeypatch, late, look
):
    variables = environment(emulator, database_url, tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run(store, at=ago(hours=20), remaining=0)
    look(variables)
    insert(database_url, [campaign_row(created_at=ago(days=3))])
    # Whoever looks now finds something.
    assert no_run_needed(Services()) is None
    assert late() == set()
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE pending_look SET empty_at = now() - interval '20 min'"
        )
    assert late() == {"status", "doctor", "watch", "check"}


def test_a_look_in_the_future_hides_no_row(store, database_url, late):
    run(store, at=ago(hours=20), remaining=0)
    store.ask(empty_looks.note)
    insert(database_url, [campaign_row(created_at=ago(days=3))])
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE pending_look SET empty_at = now() + interval '1 day'"
        )
    assert late() == {"status", "doctor", "watch", "check"}
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM campaign_metrics")
    store.ask(empty_looks.note)
    insert(database_url, [campaign_row(created_at=ago(days=3))])
    assert late() == set()
