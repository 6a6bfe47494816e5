"""Sending acknowledged rows again."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import ConfigError
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import migrations, resent_rows
from apex_pipeline.postgres.resent_rows import (
    Slice,
    SliceSummary,
    parse_instant,
    parse_slice,
)
from apex_pipeline.postgres.store import connect
from apex_pipeline.quarantine import decisions
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.crashing import crash, run_slice
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    environment,
    execute,
    insert,
    insert_many,
    marked,
    query,
)

DAY = datetime(2026, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
OTHER = UUID(int=7)


@pytest.fixture
def sync(store, emulator, tmp_path):
    def run(part=None, **portions):
        options = SyncOptions(
            StreamOptions(**portions),
            part=part,
            retry=RetryPolicy(attempts=2, first_wait=0.01),
        )
        return run_sync(
            store, emulator_settings(emulator), tmp_path / "tokens.json", options
        )

    return run


@pytest.fixture
def rows(sync, database_url):
    """Insert a day of exported rows, one per hour; return their ids."""
    written = [campaign_row(created_at=DAY + n * HOUR) for n in range(24)]
    insert(database_url, written)
    assert sync().delivered == 24
    return [str(row["id"]) for row in written]


def _refused(row):
    return Rejection(str(row["id"]), "invalid", "")


def change(database_url, value=7777):
    """Correct a value in rows that Dataverse already holds."""
    execute(database_url, f"UPDATE campaign_metrics SET tokens_in = {value}")


def sent(emulator):
    """Ids of the records with the corrected value."""
    return {
        r["apex_campaignmetricsid"]
        for r in emulator.records()
        if r["apex_tokensin"] == 7777
    }


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (DAY + 5 * HOUR, DAY + 8 * HOUR, range(5, 8)),
        (DAY + 20 * HOUR, None, range(20, 24)),
        (None, DAY + 2 * HOUR, range(2)),
    ],
)
def test_a_slice_is_sent_again_from_its_first_instant_up_to_its_last(
    sync, emulator, database_url, rows, since, until, hours
):
    change(database_url)
    report = sync(Slice(since, until), page_size=2)
    assert report.failure is None
    assert (report.delivered, report.part_left) == (len(hours), 0)
    assert sent(emulator) == {rows[hour] for hour in hours}
    assert marked(database_url) == delivered(emulator) == set(rows)


@pytest.mark.parametrize("spell", [str, lambda i: str(i).upper(), lambda i: f"{{{i}}}"])
def test_the_rows_of_one_campaign_are_sent_again(
    sync, emulator, database_url, rows, spell
):
    mine = campaign_row(campaign_id=OTHER, created_at=DAY)
    insert(database_url, [mine])
    sync()
    change(database_url)
    assert sync(Slice(campaign=spell(OTHER))).delivered == 1
    assert sent(emulator) == {str(mine["id"])}


@pytest.mark.parametrize("name", ["spring sale", "' OR 1=1 --", "%", str(OTHER)])
def test_a_campaign_may_be_any_text(empty_database_url, name):
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "CREATE TABLE campaign_metrics (id uuid PRIMARY KEY, campaign_id text)"
        )
    migrations.apply(empty_database_url)
    mine = campaign_row(campaign_id=name)
    insert(empty_database_url, [mine, campaign_row(campaign_id="another")])
    with connect(empty_database_url) as store:
        for spelled in (name, name.upper()):
            (row,) = store.ask(resent_rows.page, Slice(campaign=spelled), None, 10)
            assert row.id == str(mine["id"])
            assert store.ask(resent_rows.summary, Slice(campaign=spelled)).pending == 1


@pytest.mark.parametrize("name", ["spring sale", "' OR 1=1 --", str(UUID(int=9))])
def test_a_campaign_that_is_not_there_has_no_rows(sync, emulator, rows, name):
    emulator.clear_requests()
    report = sync(Slice(campaign=name))
    assert (report.failure, report.rows_read, emulator.requests()) == (None, 0, [])


def test_a_dry_run_counts_and_leaves_everything(sync, store, emulator, database_url):
    exported, due, waiting, dropped = (campaign_row() for _ in range(4))
    outside = campaign_row(created_at=DAY + 30 * HOUR)
    insert(database_url, [exported, outside])
    sync()
    insert(database_url, [due, waiting | {"phase": "x" * 17}, dropped])
    store.quarantine([_refused(waiting), _refused(dropped)], datetime.now(UTC))
    store.drop(
        QuarantineSelection(ids=(str(dropped["id"]),)), Decision("a test", "ann")
    )
    before = query(database_url, "SELECT * FROM campaign_metrics ORDER BY id")
    emulator.clear_requests()

    report = sync(Slice(DAY, DAY + 24 * HOUR), dry_run=True)

    assert report.part == SliceSummary(
        exported=1, done=0, pending=1, quarantined=1, dropped=1
    )
    assert (report.rows_read, report.rejected, report.delivered) == (2, 0, 0)
    assert emulator.requests() == []
    assert query(database_url, "SELECT * FROM campaign_metrics ORDER BY id") == before


def test_what_is_in_quarantine_stays_there(sync, store, database_url, rows):
    waiting, dropped = campaign_row(), campaign_row()
    insert(database_url, [waiting, dropped])
    store.quarantine([_refused(waiting), _refused(dropped)], datetime.now(UTC))
    store.drop(
        QuarantineSelection(ids=(str(dropped["id"]),)), Decision("a test", "ann")
    )
    assert sync(Slice(DAY)).delivered == 24
    assert store.ask(decisions.count) == (1, 1)
    assert marked(database_url) == set(rows)


def test_a_slice_that_one_run_does_not_finish_is_gone_on_with(
    sync, emulator, database_url, rows
):
    change(database_url)
    part = Slice(DAY)
    first = sync(part, limit=10)
    assert (first.delivered, first.part_left) == (10, 14)
    emulator.clear_requests()
    second = sync(part.continued(first.started_at), limit=8)
    third = sync(part.continued(first.started_at))
    assert (second.delivered, second.part_left) == (8, 6)
    assert (third.delivered, third.part_left) == (6, 0)
    assert third.part is not None
    assert third.part.done == 18
    assert sent(emulator) == set(rows)


def test_a_row_that_can_be_sent_no_more_goes_into_quarantine_and_comes_back_mended(
    sync, store, emulator, database_url, rows
):
    execute(
        database_url,
        f"UPDATE campaign_metrics SET phase = repeat('x', 17) WHERE id = '{rows[3]}'",
    )
    report = sync(Slice(DAY))
    assert (report.delivered, report.rejected, report.part_left) == (23, 1, 0)
    assert store.ask(decisions.count)[0] == 1
    assert marked(database_url) == set(rows) - {rows[3]}

    execute(database_url, "UPDATE campaign_metrics SET phase = '5', tokens_in = 7777")
    store.release(QuarantineSelection(everything=True))
    assert sync().delivered == 1
    assert sent(emulator) == {rows[3]}
    assert marked(database_url) == delivered(emulator) == set(rows)


def test_a_row_that_can_be_sent_no_more_and_is_held_keeps_its_mark_and_is_not_waited_for(
    sync, store, database_url, rows
):
    row = f"WHERE id = '{rows[3]}'"
    execute(database_url, f"UPDATE campaign_metrics SET phase = repeat('x', 17) {row}")
    with psycopg.connect(database_url) as other:
        other.execute(f"SELECT FROM campaign_metrics {row} FOR UPDATE".encode())
        report = sync(Slice(DAY))
    assert report.failure is None
    assert (report.delivered, report.rejected, report.locked) == (23, 0, 1)
    assert report.part_left == 1
    assert store.ask(decisions.count)[0] == 0
    assert marked(database_url) == set(rows)
    report = sync(Slice(DAY).continued(report.started_at))
    assert (report.rejected, report.locked, report.part_left) == (1, 0, 0)


def test_a_service_that_refuses_the_slice_leaves_every_mark(
    sync, store, emulator, database_url, rows
):
    emulator.fault("status", status=400, code="0x80040203", count=10_000)
    report = sync(Slice(DAY))
    assert report.failure is not None
    assert report.part_left == 24
    assert marked(database_url) == set(rows)
    assert store.ask(decisions.count)[0] == 0


def test_pending_rows_outside_the_slice_are_neither_sent_nor_forgotten(
    sync, database_url, rows
):
    insert(database_url, [campaign_row(created_at=DAY + 30 * HOUR)])
    report = sync(Slice(DAY, DAY + 24 * HOUR))
    assert (report.delivered, report.remaining) == (24, 1)
    assert sync().delivered == 1


@pytest.mark.parametrize("step", ["after_read", "after_answer", "during_mark"])
def test_a_slice_that_is_killed_takes_back_no_mark_and_can_be_repeated(
    sync, emulator, database_url, tmp_path, step
):
    insert_many(database_url, 200)
    assert sync().delivered == 200
    change(database_url)
    assert crash(environment(emulator, database_url, tmp_path), step, 2, run_slice)
    assert marked(database_url) == delivered(emulator)
    assert len(marked(database_url)) == 200
    assert sync(Slice(datetime(2000, 1, 1, tzinfo=UTC))).delivered == 200
    assert differences(emulator, database_url) == []
    assert len(emulator.records()) == 200


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-10-30", DAY),
        ("2026-10-30T02:00+02:00", DAY),
        ("2026-10-30 00:00:00Z", DAY),
        ("2026-10-30T13:00", DAY + 13 * HOUR),
        (None, None),
    ],
)
def test_a_date_begins_at_midnight_and_a_zone_is_utc_unless_said(text, instant):
    assert parse_instant("since", text) == instant


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "1; DROP TABLE x", "2026-13-01", "0001-01-01T00:00+14:00", "\0"],
)
def test_what_is_no_instant_is_refused_by_name(text):
    with pytest.raises(ConfigError, match="`since` must be a date like"):
        parse_instant("`since`", text)


@given(seconds=st.integers(-(2**31), 2**32), minutes=st.integers(-840, 840))
def test_an_instant_is_the_same_however_it_is_written(seconds, minutes):
    zone = timezone(timedelta(minutes=minutes))
    instant = datetime.fromtimestamp(seconds, zone)
    assert parse_instant("since", instant.isoformat()) == instant


def test_nothing_said_is_no_slice():
    assert parse_slice() is None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"exported_before": "2026-10-30"}, "continues a slice"),
        ({"since": "2026-10-30", "until": "2026-10-30"}, "before `until`"),
        ({"campaign": " "}, "blank"),
        ({"campaign": "a\0b"}, "not valid text"),
    ],
)
def test_a_slice_that_makes_no_sense_is_refused(said, text):
    with pytest.raises(ConfigError, match=text):
        parse_slice(**said)


def test_a_slice_goes_on_from_where_it_began_first():
    part = Slice(DAY).continued(DAY + HOUR)
    assert part == dataclasses.replace(Slice(DAY), exported_before=DAY + HOUR)
    assert part.continued(DAY + 2 * HOUR) == part
