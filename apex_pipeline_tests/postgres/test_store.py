from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, strategies as st
from psycopg import sql

from apex_pipeline.metrics import CampaignMetric, Rejection, read_metric
from apex_pipeline.postgres import migrations, pending_rows
from apex_pipeline.postgres.pending_rows import PendingRow, PendingSummary
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.store import Store, connect
from apex_pipeline.quarantine import decisions
from apex_pipeline.quarantine.decisions import QuarantineSelection
from apex_pipeline_tests.support.ends import campaign_row, insert, mark
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.waiting import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def table(database_url: str) -> Iterator[psycopg.Connection]:
    """A connection to the store's database, in autocommit."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def adopted(migrated_adopted_url: str) -> Iterator[Store]:
    """A store on a table created by the migration of others."""
    with connect(migrated_adopted_url) as opened:
        yield opened


def add(database_url: str, **overrides: object) -> str:
    """Write one row, and return its id."""
    row = campaign_row(created_at=NOW) | overrides
    insert(database_url, [row])
    return str(row["id"])


def walk(store: Store, limit: int) -> list[PendingRow]:
    """Read all pages."""
    rows: list[PendingRow] = []
    while page := store.ask(
        pending_rows.page, rows[-1].position if rows else None, limit
    ):
        assert len(page) <= limit
        assert len(rows) < 1000
        rows += page
    return rows


def ids(rows: list[PendingRow]) -> list[str]:
    return [row.id for row in rows]


def exported(table: psycopg.Connection) -> dict[str, datetime | None]:
    rows = table.execute("SELECT id::text, exported_at FROM campaign_metrics")
    return dict(rows.fetchall())


def quarantined(table: psycopg.Connection) -> list[tuple[Any, ...]]:
    return table.execute(
        """
        SELECT metric_id::text, code, message, attempts, first_rejected_at,
            last_rejected_at, next_attempt_at
        FROM campaign_metrics_quarantine
        ORDER BY metric_id
        """
    ).fetchall()


def test_rows_come_oldest_first_whatever_their_age(store, database_url):
    new = add(database_url)
    old = add(database_url, created_at=NOW - timedelta(days=4000))
    done = add(database_url)
    middle = add(database_url, created_at=NOW - timedelta(days=40))
    mark(store, [done], NOW)

    assert ids(walk(store, 2)) == [old, middle, new]


def test_a_row_is_readable_as_a_metric(store, database_url):
    row_id = add(
        database_url, created_at="2026-02-03 04:05:06.789012+01", cost_usd="12.34567"
    )

    (row,) = store.ask(pending_rows.page, None, 10)
    metric = read_metric(row.values)

    assert isinstance(metric, CampaignMetric)
    assert metric.key == row_id
    assert '"apex_costusd":12.34567' in metric.fields
    assert '"apex_createdat":"2026-02-03T03:05:06Z"' in metric.fields


@pytest.mark.parametrize(
    "created_at",
    ["infinity", "-infinity", "0001-01-01 00:00Z", "0044-03-15 12:00Z BC"],
)
def test_an_instant_that_python_does_not_know_is_read_and_passed_over(
    store, database_url, created_at
):
    strange = add(database_url, created_at=created_at)
    plain = add(database_url)

    rows = walk(store, 1)

    assert set(ids(rows)) == {strange, plain}
    (rejection,) = [read_metric(row.values) for row in rows if row.id == strange]
    assert isinstance(rejection, Rejection)
    assert rejection.message.startswith("created_at")


def test_a_number_that_is_none_is_read(store, database_url):
    add(database_url, cost_usd="NaN")

    (row,) = store.ask(pending_rows.page, None, 10)

    rejection = read_metric(row.values)
    assert isinstance(rejection, Rejection)
    assert rejection.message.startswith("cost_usd is NaN")


# Each example empties the table itself.
@examples(15)
@given(
    microseconds=st.lists(st.sampled_from([0, 1, 2, 10**6]) | st.integers(0, 10**15)),
    limit=st.integers(1, 7),
)
def test_pages_cover_each_row_once_in_order(
    store, table, database_url, microseconds, limit
):
    table.execute("TRUNCATE campaign_metrics")
    rows = sorted((EPOCH + timedelta(microseconds=n), uuid4()) for n in microseconds)
    insert(database_url, [campaign_row(created_at=at, id=key) for at, key in rows])

    assert ids(walk(store, limit)) == [str(key) for _, key in rows]


def test_the_summary_counts_and_finds_the_oldest(store, database_url):
    assert store.ask(pending_rows.summary) == PendingSummary(0, None)
    assert not store.ask(pending_rows.exists)

    add(database_url)
    add(database_url, created_at=NOW - timedelta(days=40))
    done = add(database_url, created_at=NOW - timedelta(days=80))
    mark(store, [done], NOW)

    assert store.ask(pending_rows.summary) == PendingSummary(
        2, NOW - timedelta(days=40)
    )
    assert store.ask(pending_rows.exists)


def test_a_row_that_was_refused_waits_since_it_is_due_again(store, database_url):
    now = datetime.now(UTC)
    refused = add(database_url, created_at=now - timedelta(days=40))
    store.quarantine([Rejection(refused, "invalid", "")], now - timedelta(hours=1))
    due = now - timedelta(minutes=55)
    assert store.ask(pending_rows.summary) == PendingSummary(1, None, due)

    waiting = add(database_url, created_at=NOW)

    both = store.ask(pending_rows.summary)
    assert both == PendingSummary(2, NOW, due)
    assert both.oldest_due_at == min(NOW, due)
    store.quarantine([Rejection(waiting, "invalid", "")], now)
    assert store.ask(pending_rows.summary) == PendingSummary(1, None, due)


@pytest.mark.parametrize(
    ("created_at", "shown"),
    [("-infinity", datetime.min), ("infinity", datetime.max), ("294000-01-01", None)],  # noqa: DTZ901 - made aware below
)
def test_the_oldest_is_brought_within_the_years_of_python(
    store, database_url, created_at, shown
):
    add(database_url, created_at=created_at)

    oldest = store.ask(pending_rows.summary).oldest_created_at

    assert oldest == (shown or datetime.max).replace(tzinfo=UTC)  # noqa: DTZ901 - likewise


def test_only_the_named_rows_are_marked(store, table, database_url):
    first, second = add(database_url), add(database_url)

    assert mark(store, [first], NOW) == Marks(marked=1)

    assert exported(table) == {first: NOW, second: None}
    assert ids(store.ask(pending_rows.page, None, 10)) == [second]


def test_a_marked_row_keeps_its_first_time(store, table, database_url):
    row_id = add(database_url)
    (row,) = store.ask(pending_rows.page, None, 10)
    store.mark_exported([row], NOW)

    later = store.mark_exported([row], NOW + timedelta(hours=1))
    assert later == Marks(changed=1)
    assert exported(table) == {row_id: NOW}


def test_marking_nothing_and_unknown_rows_is_no_error(store):
    assert store.mark_exported([], NOW) == Marks()
    unknown = PendingRow(str(uuid4()), "1", None, {})
    assert store.mark_exported([unknown], NOW) == Marks(deleted=1)


def test_ids_of_ours_are_recognised_in_any_spelling(store, database_url):
    row_id = add(database_url)

    assert store.ask(pending_rows.known_ids, [row_id.upper(), str(uuid4())]) == {row_id}
    assert store.ask(pending_rows.known_ids, []) == set()


def test_the_wait_in_quarantine_doubles_from_five_minutes_to_a_day(
    store, table, database_url
):
    row_id = add(database_url)
    waits = []
    for attempt in range(1, 12):
        at = NOW + timedelta(days=attempt)
        store.quarantine([Rejection(row_id, "invalid", f"try {attempt}")], at)
        ((_, _, message, attempts, first, last, due),) = quarantined(table)
        assert (message, attempts) == (f"try {attempt}", attempt)
        assert (first, last) == (NOW + timedelta(days=1), at)
        waits.append((due - at) / timedelta(minutes=1))

    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]


def test_a_row_refused_beyond_counting_still_waits_a_day(store, table, database_url):
    row_id = add(database_url)
    store.quarantine([Rejection(row_id, "invalid", "")], NOW)
    table.execute("UPDATE campaign_metrics_quarantine SET attempts = 2000000")

    store.quarantine([Rejection(row_id, "invalid", "")], NOW)

    assert quarantined(table)[0][6] == NOW + timedelta(days=1)


def test_a_host_whose_clock_is_years_ahead_puts_a_row_aside_for_minutes(
    store, table, database_url
):
    row_id = add(database_url)
    store.quarantine(
        [Rejection(row_id, "invalid", "")], datetime.now(UTC) + timedelta(days=4000)
    )

    assert quarantined(table)[0][6] <= datetime.now(UTC) + timedelta(minutes=6)


def test_a_host_whose_clock_was_set_back_is_no_reason_to_fail(
    store, table, database_url
):
    row_id = add(database_url)
    for at in (NOW, NOW - timedelta(days=4000)):
        store.quarantine([Rejection(row_id, "invalid", "")], at)

    assert quarantined(table)[0][4:6] == (NOW, NOW)


def test_a_quarantined_row_is_not_pending_until_it_is_due(store, database_url):
    now = datetime.now(UTC)
    overdue, waiting, other = (add(database_url) for _ in range(3))
    store.quarantine([Rejection(overdue, "invalid", "")], now - timedelta(hours=1))
    store.quarantine([Rejection(waiting, "invalid", "")], now)

    assert set(ids(store.ask(pending_rows.page, None, 10))) == {overdue, other}
    assert store.ask(pending_rows.summary).count == 2
    assert store.ask(decisions.count)[0] == 2


@pytest.mark.parametrize(("due", "is_pending"), [("infinity", False), ("now", True)])
def test_a_quarantined_row_may_be_dropped_or_released(
    store, table, database_url, due, is_pending
):
    row_id = add(database_url)
    store.quarantine([Rejection(row_id, "invalid", "")], datetime.now(UTC))

    table.execute("UPDATE campaign_metrics_quarantine SET next_attempt_at = %s", (due,))

    assert store.ask(pending_rows.exists) is is_pending


def test_a_delivered_row_leaves_the_quarantine(store, table, database_url):
    delivered, other = add(database_url), add(database_url)
    rejections = [Rejection(row_id, "invalid", "") for row_id in (delivered, other)]
    store.quarantine(rejections, NOW)

    store.release(QuarantineSelection(everything=True))
    mark(store, [delivered], NOW)

    assert [entry[0] for entry in quarantined(table)] == [other]


def test_a_reason_may_hold_any_character(store, table, database_url):
    store.quarantine([], NOW)
    store.quarantine([Rejection(add(database_url), "0x80040265", "a\0b ü 😀")], NOW)

    assert quarantined(table)[0][1:3] == ("0x80040265", "ab ü 😀")


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_every_row_of_an_adopted_table_is_read_once_the_undated_last(adopted, limit):
    endings = [row.id[-1] for row in walk(adopted, limit)]

    assert endings in (["1", "3"], ["1", "A", "3", "4"])
    assert adopted.ask(pending_rows.summary).count == len(endings)


def test_rows_of_an_adopted_table_are_marked_quarantined_and_recognised(
    adopted, migrated_adopted_url
):
    found = ids(walk(adopted, 10))
    adopted.quarantine([Rejection(row_id, "invalid", "") for row_id in found], NOW)
    assert adopted.ask(decisions.count)[0] == len(found)

    adopted.release(QuarantineSelection(everything=True))
    assert mark(adopted, found, NOW) == Marks(marked=len(found))

    assert adopted.ask(decisions.count)[0] == 0
    assert not adopted.ask(pending_rows.exists)
    assert adopted.ask(pending_rows.known_ids, found) == {
        row_id.lower() for row_id in found
    }
    with psycopg.connect(migrated_adopted_url) as connection:
        marked = connection.execute("SELECT max(exported_at) FROM campaign_metrics")
        assert marked.fetchone() == (NOW,)


def test_what_an_adopted_row_lacks_or_exceeds_is_refused_by_name(adopted):
    metric = read_metric(walk(adopted, 10)[-1].values)

    assert isinstance(metric, Rejection)
    assert metric.message in {
        "tokens_in is 5000000000; the column holds -2147483648 to 2147483647",
        "latency_avg_ms is missing; created_at is missing",
    }


def test_a_time_without_zone_is_marked_in_utc(empty_database_url):
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(name)
        )
        connection.execute(
            "CREATE TABLE campaign_metrics (id text PRIMARY KEY, exported_at timestamp)"
        )
        connection.execute("INSERT INTO campaign_metrics VALUES ('a')")
        migrations.apply(empty_database_url)
        with connect(empty_database_url) as store:
            mark(store, ["a"], NOW)

        found = connection.execute("SELECT exported_at FROM campaign_metrics")
        assert found.fetchone() == (NOW.replace(tzinfo=None),)


@pytest.mark.slow
def test_pages_of_a_long_table_are_read_through_the_partial_index(migrated_adopted_url):
    """Neither the exported rows nor those of earlier pages are touched."""
    with psycopg.connect(migrated_adopted_url, autocommit=True) as connection:
        _fill(connection)
        before = _scans(connection)
        with connect(migrated_adopted_url) as store:
            rows = store.ask(pending_rows.page, None, 200)
            for _ in range(4):
                rows += store.ask(pending_rows.page, rows[-1].position, 200)
            assert store.ask(pending_rows.exists)

        assert len({row.id for row in rows}) == 1000
        wait_until(lambda: _scans(connection)[0] >= before[0] + 6)
        _, entries_read, table_scans = _scans(connection)
        assert entries_read - before[1] < 1100
        assert table_scans == before[2]


def _fill(connection: psycopg.Connection) -> None:
    """A hundred thousand rows: a tenth pending, and some of these in quarantine."""
    connection.execute(
        """
        INSERT INTO campaign_metrics (
            campaign_id, run_id, agents_total, agents_successful, assets_generated,
            tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
            success_rate_pct, created_at, exported_at
        )
        SELECT campaign_id, run_id, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            now() - n * interval '1 minute', CASE WHEN n % 10 > 0 THEN now() END
        FROM generate_series(1, 100000) AS n,
            (SELECT campaign_id, run_id FROM campaign_metrics LIMIT 1) AS taken
        """
    )
    connection.execute(
        """
        INSERT INTO campaign_metrics_quarantine
        SELECT id, 'invalid', '', 1, now(), now(), 'infinity'
        FROM campaign_metrics WHERE exported_at IS NULL LIMIT 50
        """
    )
    connection.execute("VACUUM ANALYZE")
    # Or what this connection read would be counted with what the store reads.
    connection.execute("SELECT pg_stat_force_next_flush()")


def _scans(connection: psycopg.Connection) -> tuple[int, int, int]:
    """Scans of the index, entries read from it, scans of the whole table."""
    found = connection.execute(
        """
        SELECT indexes.idx_scan, indexes.idx_tup_read, tables.seq_scan
        FROM pg_stat_user_indexes AS indexes
        JOIN pg_stat_user_tables AS tables USING (relid)
        WHERE indexes.indexrelname = 'campaign_metrics_pending_idx'
        """
    ).fetchone()
    assert found is not None
    return found
