"""The rollups' figures, held against pandas; and how a range is replaced."""

import random
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.rollups.columns import (
    CAMPAIGN,
    COMPUTED_AT,
    DAY,
    MEASURES,
    PHASE,
    TIME_ZONE,
    WEEK,
    RollupColumn,
)
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.analytics.rollups.weekly_changes import CHANGES, WeeklyChange
from apex_pipeline.errors import ConfigError, NoProgressError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.ends import execute, insert, query
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.rollup_reference import (
    changes,
    metric,
    mondays,
    rollup,
    stored,
    stored_changes,
)
from apex_pipeline_tests.support.waiting import SECONDS

pytestmark = pytest.mark.any_server

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Atlantic/Azores",
    "Asia/Kathmandu",
]
FIRST, LAST = date(2026, 10, 12), date(2026, 11, 8)


def configured(**variables):
    return load_analysis_settings(
        {"APEX_TIME_ZONE": "Europe/Berlin", "APEX_SLO_P95_MS": "50000"} | variables
    )


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def make(database, settings, first=FIRST, last=LAST):
    weeks = mondays(first, last)
    daily = refresh(database, settings, Periods(DAILY, first, last))
    weekly = refresh(database, settings, Periods(WEEKLY, weeks[0], weeks[-1]))
    return daily, weekly


@pytest.mark.parametrize("grain", [DAILY, WEEKLY], ids=["day", "week"])
def test_a_refresh_of_which_postgres_keeps_nothing_fails_and_leaves_what_there_was(
    database, database_url, grain
):
    periods = Periods(grain, date(2026, 10, 12), date(2026, 10, 12))
    refresh(database, configured(), periods)
    before = query(database_url, f"SELECT count(*) FROM {grain.total}")
    execute(
        database_url,
        f"""
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER deaf BEFORE INSERT ON {grain.total}
        FOR EACH ROW EXECUTE FUNCTION swallow();
        """,
    )
    with pytest.raises(NoProgressError, match=grain.total):
        refresh(database, configured(), periods)
    assert (
        query(database_url, f"SELECT count(*) FROM {grain.total}") == before != [(0,)]
    )


def random_rows(count, seed=7):
    rng = random.Random(seed)
    start = datetime(2026, 10, 10, tzinfo=UTC)
    return [
        metric(
            start + timedelta(seconds=rng.randrange(31 * 86_400), microseconds=n),
            campaign_id=UUID(int=rng.randrange(5)),
            phase=rng.choice(["1", "2-3", "4"]),
            agents_total=(agents := rng.randrange(0, 30)),
            agents_successful=rng.randint(0, agents),
            assets_generated=rng.choice([0, 0, rng.randrange(50)]),
            tokens_in=rng.randrange(2**31),
            tokens_out=rng.randrange(2**20),
            cost_usd=Decimal(rng.randrange(10**9)).scaleb(-5),
            latency_p95_ms=rng.randrange(100_000),
            latency_avg_ms=rng.randrange(50_000),
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("zone", ZONES)
def test_days_and_weeks_are_what_pandas_makes_of_the_raw_rows(
    database, database_url, zone
):
    rows = random_rows(4000)
    insert(database_url, rows)
    settings = configured(APEX_TIME_ZONE=zone)
    make(database, settings)
    for name in settings.time_zones:
        for grain, days in ((DAILY, 1), (WEEKLY, 7)):
            expected = {
                key: measures
                for key, measures in rollup(rows, name, days, 50_000).items()
                if FIRST <= key[0] <= LAST
            }
            assert len(expected) > 20
            assert stored(database_url, grain, name) == expected


BIG = st.integers(-(2**31), 2**31 - 1)
INSTANTS = st.integers(0, 9 * 86_400_000_000).map(
    lambda us: datetime(2026, 10, 24, tzinfo=UTC) + timedelta(microseconds=us)
) | st.sampled_from(
    [
        datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(hours=hours, microseconds=us)
        for hours in range(30)
        for us in (-1, 0)
    ]
)
RAW = st.builds(
    metric,
    created_at=INSTANTS,
    campaign_id=st.sampled_from([UUID(int=1), UUID(int=2)]),
    phase=st.sampled_from(["1", "2-3", ""]),
    # Weights that cancel each other out give a mean with more digits than numeric keeps.
    agents_total=st.integers(0, 2**31 - 1) | st.integers(0, 3),
    agents_successful=BIG | st.integers(0, 3),
    assets_generated=BIG | st.integers(0, 3),
    tokens_in=BIG,
    tokens_out=BIG,
    cost_usd=st.decimals(-99999, 99999, places=5),
    latency_p95_ms=BIG | st.integers(49_999, 50_001),
    latency_avg_ms=BIG,
)


@examples(12)
@given(
    rows=st.lists(RAW, max_size=12),
    zone=st.sampled_from(ZONES),
    slo=st.sampled_from([None, 50_000]),
)
def test_whatever_the_rows_hold_the_figures_are_those_of_pandas(
    database, database_url, rows, zone, slo
):
    query(database_url, "DELETE FROM campaign_metrics RETURNING 1")
    rows = [{**row, "id": UUID(int=n)} for n, row in enumerate(rows)]
    insert(database_url, rows)
    settings = configured(
        APEX_TIME_ZONE=zone, **({"APEX_SLO_P95_MS": ""} if slo is None else {})
    )
    make(database, settings, date(2026, 10, 19), date(2026, 11, 8))
    for name in settings.time_zones:
        assert stored(database_url, DAILY, name) == rollup(rows, name, 1, slo)
        assert stored(database_url, WEEKLY, name) == rollup(rows, name, 7, slo)


@pytest.mark.parametrize("zone", ["Atlantic/Azores", "America/Havana", "Asia/Beirut"])
def test_where_midnight_comes_twice_or_never_each_row_has_one_day(
    database, database_url, zone
):
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [metric(start + timedelta(minutes=30 * n)) for n in range(365 * 48)]
    insert(database_url, rows)
    refresh(
        database,
        configured(APEX_TIME_ZONE=zone),
        Periods(DAILY, date(2024, 12, 31), date(2026, 1, 1)),
    )
    per_day: dict[date, int] = {}
    for row in rows:
        day = row["created_at"].astimezone(ZoneInfo(zone)).date()
        per_day[day] = per_day.get(day, 0) + 1
    found = query(
        database_url,
        f"SELECT day, runs FROM daily_rollup_total WHERE time_zone = '{zone}' AND runs > 0",
    )
    assert dict(found) == per_day
    assert {46, 50} <= set(per_day.values())


def test_a_day_without_runs_is_a_row_of_zeros_and_a_day_not_computed_is_none(
    database, database_url
):
    refresh(database, configured(), Periods(DAILY, FIRST, FIRST))
    (row,) = query(
        database_url,
        "SELECT day, runs, cost_usd, success_rate_pct, latency_avg_ms, slo_breach_pct "
        "FROM daily_rollup_total WHERE time_zone = 'UTC'",
    )
    assert row == (FIRST, 0, 0, None, None, None)


def test_one_run_is_a_day_and_a_week(database, database_url):
    rows = [metric(datetime(2026, 10, 13, 12, tzinfo=UTC))]
    insert(database_url, rows)
    make(database, configured())
    for name in ("UTC", "Europe/Berlin"):
        assert stored(database_url, DAILY, name) == rollup(rows, name, 1, 50_000)
        assert stored(database_url, WEEKLY, name) == rollup(rows, name, 7, 50_000)


def test_a_refresh_replaces_its_days_and_no_others(database, database_url):
    insert(database_url, random_rows(500))
    refresh(database, configured(), Periods(DAILY, FIRST, LAST))
    before = stored(database_url, DAILY, "UTC")
    query(database_url, "DELETE FROM campaign_metrics RETURNING 1")
    middle = date(2026, 10, 20)
    refresh(database, configured(), Periods(DAILY, middle, middle))
    after = stored(database_url, DAILY, "UTC")
    assert after == {key: row for key, row in before.items() if key[0] != middle}
    assert len(after) < len(before)


def test_rows_keep_the_objective_that_they_were_computed_with(database, database_url):
    insert(database_url, random_rows(500))
    refresh(database, configured(), Periods(DAILY, FIRST, LAST))
    day = date(2026, 10, 20)
    refresh(database, configured(APEX_SLO_P95_MS="10"), Periods(DAILY, day, day))
    refresh(
        database,
        configured(APEX_SLO_P95_MS=""),
        Periods(DAILY, day + timedelta(days=1), day + timedelta(days=1)),
    )
    found = query(
        database_url,
        "SELECT slo_p95_ms, count(*) FROM daily_rollup_total GROUP BY 1 ORDER BY 1",
    )
    assert found == [(10, 2), (50_000, 52), (None, 2)]


def test_a_time_zone_that_is_configured_no_longer_leaves(database, database_url):
    insert(database_url, random_rows(50))
    make(database, configured())
    make(database, configured(APEX_TIME_ZONE="Asia/Tokyo"), FIRST, FIRST)
    for table in ("daily_campaign_rollup", "daily_rollup_total", "rollup_source"):
        zones = query(database_url, f"SELECT DISTINCT time_zone FROM {table}")
        assert {zone for (zone,) in zones} <= {"UTC", "Asia/Tokyo"}


@pytest.mark.parametrize("zone", ZONES)
def test_changes_are_what_pandas_makes_of_the_weeks(database, database_url, zone):
    rows = random_rows(600, seed=11)
    # A campaign of one run, one that ends and one that begins.
    rows += [metric(datetime(2026, 10, 21, 9, tzinfo=UTC), campaign_id=UUID(int=9))]
    insert(database_url, rows)
    settings = configured(APEX_TIME_ZONE=zone)
    make(database, settings)
    computed = mondays(FIRST, LAST)
    for name in settings.time_zones:
        weeks = {
            key: measures
            for key, measures in rollup(rows, name, 7, 50_000).items()
            if key[0] in computed
        }
        assert len(weeks) > 30
        assert stored_changes(database_url, WEEKLY, name) == changes(weeks, computed)


def test_ten_years_are_made_at_once(database, database_url):
    """One run a day but for a year in between, in which there are none."""
    start = datetime(2016, 1, 4, 23, 30, tzinfo=UTC)
    days = [n for n in range(3653) if not 1000 <= n < 1365]
    insert(database_url, [metric(start + timedelta(days=n)) for n in days])
    first, last = start.date(), start.date() + timedelta(days=3653)
    days_made = Periods(DAILY, first, last)
    weeks_made = Periods(WEEKLY, first, mondays(first, last)[-1])
    made = refresh(database, configured(), days_made)
    refresh(database, configured(), weeks_made)
    # In Berlin each run is of the next day.
    labels = Counter(first + timedelta(days=n + k) for n in days for k in (0, 1))
    assert {day: rows for day, rows in made.rows.items() if rows} == labels
    for periods in (days_made, weeks_made):
        found = query(
            database_url,
            "SELECT time_zone, count(*), sum(runs) "
            f"FROM {periods.grain.total} GROUP BY 1 ORDER BY 1",
        )
        count = len(periods.labels())
        assert found == [("Europe/Berlin", count, 3288), ("UTC", count, 3288)]


def test_changes_are_against_the_week_before(database, database_url):
    monday = datetime(2026, 10, 12, 12, tzinfo=UTC)
    one, two = UUID(int=1), UUID(int=2)
    insert(
        database_url,
        [
            metric(monday, campaign_id=one, cost_usd=Decimal(2), agents_successful=4),
            metric(monday + timedelta(days=7), campaign_id=one, cost_usd=Decimal(3)),
            metric(monday + timedelta(days=8), campaign_id=one, latency_avg_ms=42_006),
            metric(monday + timedelta(days=9), campaign_id=two, agents_total=0),
        ],
    )
    make(database, configured())
    changes = stored_changes(database_url, WEEKLY, "UTC")
    first, second, third = mondays(date(2026, 10, 12), date(2026, 10, 26))
    assert set(changes[(first,)].values()) == {None}
    assert changes[(second, str(one), "2-3")] == {
        "runs_change": 1,
        "success_rate_change_points": Decimal(0),
        "assets_generated_change": 12,
        "tokens_in_change": 1500,
        "tokens_out_change": 3000,
        "cost_usd_change": Decimal("1.00348"),
        "cost_usd_change_pct": Decimal("50.1740"),
        "latency_avg_change_ms": 3,
        "latency_p95_worst_change_ms": 0,
        "latency_p95_median_change_ms": 0,
    }
    newcomer = changes[(second, str(two), "2-3")]
    assert (newcomer["runs_change"], newcomer["cost_usd_change"]) == (
        1,
        Decimal("0.00348"),
    )
    assert newcomer["cost_usd_change_pct"] is None
    assert newcomer["success_rate_change_points"] is None
    assert changes[(third,)]["runs_change"] == -3


def test_what_a_campaign_no_longer_has_is_a_fall_and_the_parts_are_the_whole(
    database, database_url
):
    monday = datetime(2026, 10, 12, 12, tzinfo=UTC)
    one, two = UUID(int=1), UUID(int=2)
    week = timedelta(days=7)
    insert(
        database_url,
        [
            metric(monday, campaign_id=one, cost_usd=Decimal(520)),
            metric(monday, campaign_id=two, cost_usd=Decimal(100)),
            metric(monday + week, campaign_id=two, cost_usd=Decimal(233)),
            metric(monday + 2 * week, campaign_id=one, cost_usd=Decimal(7)),
        ],
    )
    make(database, configured())
    _, second, third, *_ = mondays(date(2026, 10, 12), LAST)
    stopped = (
        "SELECT runs, cost_usd, cost_usd_change, cost_usd_change_pct, success_rate_pct, "
        "runs_change FROM weekly_campaign_rollup WHERE time_zone = 'UTC' AND "
        f"campaign_id = '{one}' AND week = "
    )
    assert query(database_url, f"{stopped}'{second}'") == [(0, 0, -520, -100, None, -1)]
    sums = (
        "SELECT sum(cost_usd_change) FROM weekly_campaign_rollup WHERE time_zone = 'UTC' "
        "GROUP BY week HAVING week IN ({}) ORDER BY week"
    ).format(f"'{second}', '{third}'")
    assert query(database_url, sums) == [(-387,), (-226,)]
    # After a second week without runs it is no news.
    fourth = third + week
    gone = f"SELECT campaign_id FROM weekly_campaign_rollup WHERE week = '{fourth}'"
    assert query(database_url, gone) == [(str(one),)] * 2
    insert(database_url, [metric(monday + week, campaign_id=one)])
    refresh(database, configured(), Periods(WEEKLY, second, second))
    assert query(database_url, f"{stopped}'{second}'")[0][0] == 1
    assert query(database_url, f"{stopped}'{third}'")[0][-1] == 0


def test_a_week_that_is_made_again_changes_what_the_next_one_is_compared_with(
    database, database_url
):
    monday = datetime(2026, 10, 12, 12, tzinfo=UTC)
    insert(database_url, [metric(monday + timedelta(days=7))])
    make(database, configured())
    insert(database_url, [metric(monday) for _ in range(3)])
    first, second = mondays(date(2026, 10, 12), date(2026, 10, 19))
    refresh(database, configured(), Periods(WEEKLY, first, first))
    assert stored_changes(database_url, WEEKLY, "UTC")[(second,)]["runs_change"] == -2


@contextmanager
def half_refreshed(database, database_url):
    """While a refresh stands still: it has deleted, and cannot fill yet."""
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE rollup_source IN SHARE MODE")
        refreshing = threading.Thread(target=make, args=(database, configured()))
        refreshing.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while query(database_url, waiting) == [(0,)]:
            assert refreshing.is_alive()
        yield
    refreshing.join(SECONDS)


def test_readers_see_the_old_rows_until_the_new_ones_are_whole(database, database_url):
    insert(database_url, random_rows(300))
    make(database, configured())
    wanted = "SELECT count(*), sum(runs) FROM daily_campaign_rollup"
    before = query(database_url, wanted)
    with half_refreshed(database, database_url):
        assert query(database_url, wanted) == before
    assert query(database_url, wanted) == before


def test_a_refresh_holds_up_neither_the_agents_nor_a_sync(database, database_url):
    """Rows are written and marked while it stands still with all its locks."""
    insert(database_url, random_rows(50))
    with half_refreshed(database, database_url):
        with psycopg.connect(database_url) as sync:
            sync.execute("SET lock_timeout = '1s'")
            sync.execute("SELECT * FROM campaign_metrics_pending")
            sync.execute("UPDATE campaign_metrics SET exported_at = now()")
        insert(database_url, random_rows(1, seed=8))
    assert query(database_url, "SELECT count(*) FROM campaign_metrics") == [(51,)]


def test_two_refreshes_of_the_same_days_neither_double_nor_fail(database, database_url):
    rows = random_rows(2000)
    insert(database_url, rows)
    failures: list[BaseException] = []

    def work():
        try:
            for _ in range(3):
                make(database, configured())
        except BaseException as error:  # noqa: BLE001  reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert failures == []
    expected = {
        key: measures
        for key, measures in rollup(rows, "UTC", 1, 50_000).items()
        if FIRST <= key[0] <= LAST
    }
    assert stored(database_url, DAILY, "UTC") == expected


def test_absurd_values_neither_overflow_nor_stop_the_others(database, database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP VIEW campaign_metrics_pending")
        connection.execute("DROP VIEW v_campaign_metrics_pending")
        connection.execute(
            "ALTER TABLE campaign_metrics ALTER tokens_in TYPE bigint, "
            "ALTER latency_avg_ms TYPE bigint, ALTER agents_total TYPE bigint"
        )
    at, most = datetime(2026, 10, 13, 12, tzinfo=UTC), 2**63 - 1
    huge = {"tokens_in": most, "latency_avg_ms": most, "agents_total": most}
    insert(database_url, [metric(at, cost_usd=Decimal("NaN")), metric(at, **huge)])
    insert(database_url, [metric(at, **huge)])
    made = refresh(database, configured(), Periods(DAILY, FIRST, LAST))
    assert made.rows[at.date()] == 2
    ((cost, tokens, latency),) = query(
        database_url,
        "SELECT cost_usd, tokens_in, round(latency_avg_ms) FROM daily_rollup_total "
        f"WHERE day = '{at.date()}' AND time_zone = 'UTC'",
    )
    # Of the row that is not a number, the cost alone is left out.
    assert cost == 2 * Decimal("0.00348")
    assert tokens == 2 * most + 1500
    assert latency == round(Fraction(2 * most * most + 5 * 42_000, 2 * most + 5))


@pytest.mark.parametrize(
    ("grain", "first", "last"),
    [
        (DAILY, LAST, FIRST),
        (WEEKLY, date(2026, 10, 13), date(2026, 10, 19)),
    ],
)
def test_what_is_no_range_of_whole_periods_is_refused(grain, first, last):
    with pytest.raises(ConfigError):
        Periods(grain, first, last)


def test_the_columns_are_those_of_the_schema_in_order_type_and_words(database_url):
    keys, rest = [TIME_ZONE], [*MEASURES, COMPUTED_AT]
    expected: dict[str, list[RollupColumn | WeeklyChange]] = {
        "daily_campaign_rollup": [*keys, DAY, CAMPAIGN, PHASE, *rest],
        "daily_rollup_total": [*keys, DAY, *rest],
        "weekly_campaign_rollup": [*keys, WEEK, CAMPAIGN, PHASE, *rest, *CHANGES],
        "weekly_rollup_total": [*keys, WEEK, *rest, *CHANGES],
    }
    for table, columns in expected.items():
        found = query(
            database_url,
            f"""
            SELECT attname, format_type(atttypid, atttypmod),
                col_description(attrelid, attnum)
            FROM pg_attribute
            WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
        )
        assert found == [(c.name, c.type, c.description) for c in columns]
