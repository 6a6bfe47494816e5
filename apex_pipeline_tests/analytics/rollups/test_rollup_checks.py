"""The checks of rollups: each passes where all is well, and fails for its own fault."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.analytics.rollups.rollup_checks import (
    DAILY_CHECKS,
    WEEKLY_CHECKS,
    check,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.ends import execute, insert, query
from apex_pipeline_tests.support.rollup_reference import metric

SETTINGS = load_analysis_settings(
    {"APEX_TIME_ZONE": "Europe/Berlin", "APEX_HISTORY_START": "2025-01-06"}
)
FIRST, LAST = date(2025, 8, 4), date(2025, 10, 5)
DAYS = Periods(DAILY, FIRST, LAST)
WEEKS = Periods(WEEKLY, FIRST, date(2025, 9, 29))
LAST_NOON = datetime(2025, 10, 5, 12, tzinfo=UTC)


@pytest.fixture
def database(database_url):
    """Nine weeks, a run of each of two campaigns a day."""
    insert(
        database_url,
        [
            metric(
                LAST_NOON - timedelta(days=n // 2),
                campaign_id=UUID(int=n % 2),
                cost_usd=Decimal(10),
            )
            for n in range(2 * 63)
        ],
    )
    with Database(database_url, application_name="test") as opened:
        make(opened)
        yield opened


def make(database):
    for periods in (DAYS, WEEKS):
        refresh(database, SETTINGS, periods)


def failed(database, periods=DAYS):
    findings = database.transact(lambda c: check(c, SETTINGS, periods))
    return {f.check: f for f in findings if not f.passed}


def test_all_is_well(database):
    assert failed(database) == {}
    assert failed(database, WEEKS) == {}
    for periods, names in ((DAYS, DAILY_CHECKS), (WEEKS, WEEKLY_CHECKS)):
        findings = database.transact(lambda c, p=periods: check(c, SETTINGS, p))
        assert tuple(f.check for f in findings) == names


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE daily_campaign_rollup SET cost_usd = cost_usd + 0.00001",
        "UPDATE daily_rollup_total SET tokens_in = tokens_in + 1",
        "DELETE FROM daily_campaign_rollup",
        "UPDATE daily_campaign_rollup SET day = day + 40",
    ],
)
def test_sums_that_are_not_those_of_the_raw_rows_are_found(
    database, database_url, change
):
    execute(database_url, f"{change} WHERE day = '2025-09-01' AND time_zone = 'UTC'")
    found = failed(database)
    assert set(found) == {"matches_raw_rows"}
    assert found["matches_raw_rows"].examples[0].startswith("2025-09-01 UTC")


def test_a_raw_row_that_was_changed_is_found_in_each_time_zone(database, database_url):
    execute(
        database_url,
        "UPDATE campaign_metrics SET assets_generated = assets_generated + 1 "
        "WHERE created_at = '2025-09-01 12:00+00'",
    )
    assert failed(database)["matches_raw_rows"].wrong == 2


def test_a_day_without_a_total_is_found_where_it_is_and_as_a_gap(
    database, database_url
):
    execute(database_url, "DELETE FROM daily_rollup_total WHERE day = '2025-09-01'")
    found = failed(database)
    assert set(found) == {"matches_raw_rows", "no_gap"}
    assert "nothing from 2025-08-31 to 2025-09-02" in found["no_gap"].examples[0]


def test_a_week_that_is_missing_is_a_gap(database, database_url):
    execute(database_url, "DELETE FROM weekly_rollup_total WHERE week = '2025-09-01'")
    later = Periods(WEEKLY, WEEKS.last, WEEKS.last)
    assert set(failed(database, later)) == {"no_gap"}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("runs = runs + 1", {"weeks_equal_days", "matches_raw_rows"}),
        ("latency_p95_worst_ms = 1", {"weeks_equal_days"}),
        ("first_run_at = first_run_at - interval '1 second'", {"weeks_equal_days"}),
    ],
)
def test_a_week_that_is_not_its_days_is_found(database, database_url, change, names):
    execute(
        database_url,
        f"UPDATE weekly_rollup_total SET {change} "
        "WHERE week = '2025-09-01' AND time_zone = 'UTC'",
    )
    assert set(failed(database, WEEKS)) == names


def test_a_week_is_held_against_days_that_are_older_than_a_row_of_it(
    database, database_url
):
    """Whatever made it so: a reader sees two sums that differ."""
    execute(
        database_url,
        "UPDATE rollup_source SET raw_checksum = 0 WHERE grain = 'day'",
    )
    execute(
        database_url,
        "UPDATE daily_rollup_total SET cost_usd = cost_usd + 100 "
        "WHERE day = '2025-09-03' AND time_zone = 'UTC'",
    )
    assert set(failed(database, WEEKS)) == {"weeks_equal_days"}


@pytest.mark.parametrize("periods", [WEEKS, DAYS], ids=["weeks", "days"])
def test_a_week_and_its_days_are_made_from_one_look_at_the_rows(
    database, database_url, periods
):
    insert(database_url, [metric(datetime(2025, 9, 3, 12, tzinfo=UTC))])
    refresh(database, SETTINGS, periods)
    assert failed(database, WEEKS) == failed(database, DAYS) == {}


def test_one_day_brings_its_week_and_that_brings_its_days(database, database_url):
    insert(
        database_url,
        [metric(datetime(2025, 9, day, 12, tzinfo=UTC)) for day in (3, 6)],
    )
    refresh(database, SETTINGS, Periods(DAILY, date(2025, 9, 3), date(2025, 9, 3)))
    monday = date(2025, 9, 1)
    assert failed(database, Periods(WEEKLY, monday, monday)) == {}
    assert failed(database, Periods(DAILY, monday, date(2025, 9, 7))) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"agents_successful": 6},
        {"cost_usd": Decimal("-0.00001")},
        {"cost_usd": Decimal("NaN")},
        {"agents_total": -1, "agents_successful": -1},
        {"assets_generated": -1},
        {"tokens_in": -1},
        {"tokens_out": -1},
        {"latency_p95_ms": -1},
        {"latency_avg_ms": -1},
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_found_and_summed_all_the_same(
    database, database_url, values
):
    row = metric(LAST_NOON, **values)
    insert(database_url, [row])
    make(database)
    found = failed(database)
    assert set(found) == {"no_impossible_value"}
    assert str(row["id"]) in found["no_impossible_value"].examples[0]
    assert failed(database, Periods(DAILY, FIRST, date(2025, 10, 3))) == {}


def test_a_day_that_costs_more_than_twice_its_weekdays_is_found(database, database_url):
    insert(database_url, [metric(LAST_NOON, cost_usd=Decimal("20.00001"))])
    make(database)
    found = failed(database)["no_cost_jump"]
    assert found.wrong == 2
    assert found.examples[0].startswith("2025-10-05 Europe/Berlin: 40.00 US dollars")


def test_a_day_that_costs_twice_as_much_is_none(database, database_url):
    insert(database_url, [metric(LAST_NOON, cost_usd=Decimal(20))])
    make(database)
    assert failed(database) == {}


def test_with_fewer_than_three_such_weekdays_nothing_is_a_jump(database, database_url):
    execute(
        database_url,
        "DELETE FROM campaign_metrics WHERE created_at < '2025-09-20'",
    )
    insert(database_url, [metric(LAST_NOON, cost_usd=Decimal(2000))])
    make(database)
    assert failed(database) == {}


def test_rows_that_are_in_no_rollup_are_found(database, database_url):
    execute(database_url, "ALTER TABLE campaign_metrics ALTER created_at DROP NOT NULL")
    insert(
        database_url,
        [
            metric(datetime(2024, 12, 1, tzinfo=UTC)),
            metric(datetime.now(UTC) + timedelta(hours=1)),
            {**metric(LAST_NOON), "created_at": None},
        ],
    )
    found = failed(database)
    assert set(found) == {"no_row_outside_history"}
    words = " ".join(found["no_row_outside_history"].examples)
    for wrong in ("before the history", "in the future", "without a time"):
        assert wrong in words


@pytest.mark.parametrize(
    ("instant", "words"),
    [
        ("infinity", "in the future"),
        ("294276-12-31", "in the future"),
        ("-infinity", "before the history"),
        ("4713-01-01 BC", "before the history"),
    ],
)
def test_an_instant_that_only_postgres_knows_is_found_and_stops_nothing(
    database, database_url, instant, words
):
    row = metric(LAST_NOON)
    insert(database_url, [row])
    execute(
        database_url,
        f"UPDATE campaign_metrics SET created_at = '{instant}' WHERE id = '{row['id']}'",
    )
    make(database)
    found = failed(database)
    assert set(found) == {"no_row_outside_history"}
    (example,) = found["no_row_outside_history"].examples
    assert str(row["id"]) in example
    assert words in example


@pytest.mark.parametrize("column", ["tokens_out", "cost_usd", "latency_avg_ms"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("double precision", "NaN"),
        ("double precision", "Infinity"),
        ("double precision", "1.7e308"),
        ("numeric", "NaN"),
        ("numeric", "9e131071"),
    ],
)
def test_in_an_adopted_column_what_no_sum_can_take_is_found(
    database, database_url, column, kind, value
):
    execute(
        database_url,
        "DROP VIEW campaign_metrics_pending, v_campaign_metrics_pending;"
        f"ALTER TABLE campaign_metrics ALTER {column} TYPE {kind}",
    )
    row = metric(LAST_NOON - timedelta(days=1), **{column: value})
    insert(database_url, [row])
    make(database)
    found = failed(database)
    assert set(found) == {"no_impossible_value"}
    assert found["no_impossible_value"].wrong == 1
    assert str(row["id"]) in found["no_impossible_value"].examples[0]
    sums = query(
        database_url,
        "SELECT tokens_out, cost_usd, latency_avg_ms FROM daily_rollup_total",
    )
    assert all(each.is_finite() for day in sums for each in day if each is not None)


def test_a_text_too_long_for_an_index_stops_nothing(database, database_url):
    # Random, because what repeats is compressed and then fits.
    long = random.Random(7).randbytes(10_000).hex()
    insert(database_url, [metric(LAST_NOON - timedelta(days=1), phase=long)])
    make(database)
    assert not failed(database)
    found = query(database_url, "SELECT DISTINCT phase FROM daily_campaign_rollup")
    assert (long[:200],) in found


def test_an_adopted_cost_of_floating_point_adds_up_in_any_order(database, database_url):
    execute(
        database_url,
        "DROP VIEW campaign_metrics_pending, v_campaign_metrics_pending;"
        "ALTER TABLE campaign_metrics ALTER cost_usd TYPE double precision",
    )
    rng = random.Random(5)
    insert(
        database_url,
        [
            metric(
                LAST_NOON - timedelta(minutes=rng.randrange(40_000)),
                campaign_id=UUID(int=n % 2),
                cost_usd=rng.random() * 10 ** rng.randrange(-5, 5),
            )
            for n in range(2000)
        ],
    )
    make(database)
    for periods in (DAYS, WEEKS):
        assert not {"matches_raw_rows", "weeks_equal_days"} & set(
            failed(database, periods)
        )
