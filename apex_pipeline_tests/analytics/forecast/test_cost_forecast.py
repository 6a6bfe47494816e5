"""The forecast in Postgres: what it is learnt from, how it is kept and read back."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.forecast.cost_forecast import DayOutcome, train
from apex_pipeline.analytics.forecast.latest_forecast import outlook
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.errors import SchemaMissingError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.cost_series import KINDS, weekly
from apex_pipeline_tests.support.ends import execute, insert, query
from apex_pipeline_tests.support.examples import examples
from apex_pipeline_tests.support.rollup_reference import metric
from apex_pipeline_tests.support.waiting import SECONDS

NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
TODAY = NOW.date()
ZONE = "America/New_York"
SETTINGS = load_analysis_settings({"APEX_TIME_ZONE": ZONE})
IN_UTC = load_analysis_settings({})


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def days_ago(number):
    return TODAY - timedelta(days=number)


def spend(database_url, costs, zone="UTC", until=TODAY):
    """Rollups of days that were over when they were made, the last before *until*."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO daily_rollup_total (
                time_zone, day, runs, agents_total, agents_successful,
                assets_generated, tokens_in, tokens_out, cost_usd
            )
            VALUES (%s, %s, %s, 1, 1, 1, 1, 1, %s)
            """,
            [
                (
                    zone,
                    until - timedelta(days=len(costs) - number),
                    int(bool(cost)),
                    cost,
                )
                for number, cost in enumerate(costs)
                if cost is not None
            ],
        )


def learnt(database, settings=IN_UTC, now=NOW):
    return {t.time_zone: t.forecast.series for t in train(database, settings, now)}


def test_days_are_read_out_of_the_rollups_of_raw_rows_in_each_time_zone(
    database, database_url
):
    """A run at 02:00 UTC belongs to the day before in New York."""
    early = NOW.replace(hour=2)
    insert(
        database_url,
        [metric(early - timedelta(days=n), cost_usd=Decimal(n)) for n in (5, 3, 1, 0)],
    )
    refresh(database, SETTINGS, Periods(DAILY, days_ago(9), TODAY))
    utc, local = learnt(database, SETTINGS).values()
    assert (utc.first_day, local.first_day) == (days_ago(5), days_ago(6))
    assert utc.values == (5, 0, 3, 0, 1)
    # The run of today at 02:00 was still yesterday there.
    assert local.values[:5] == (5, 0, 3, 0, 1)


def test_the_day_that_a_time_zone_is_in_is_the_first_that_is_forecast(
    database, database_url
):
    late = NOW.replace(hour=23)
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        settings = load_analysis_settings({"APEX_TIME_ZONE": zone})
        spend(database_url, [1.0] * 20, zone)
        utc, local = train(database, settings, late)
        assert utc.forecast.made_on == TODAY
        assert local.forecast.made_on == late.astimezone(ZoneInfo(zone)).date()
        assert local.forecast.days[0].day == local.forecast.made_on


def test_a_day_that_is_not_computed_is_missing_and_one_without_runs_is_zero(
    database, database_url
):
    spend(database_url, [7.0, None, 0.0, 9.0, None])
    (training,) = train(database, IN_UTC, NOW)
    assert list(training.forecast.series.values) == [7, None, 0, 9, None]
    ((known, missing, first),) = query(
        database_url,
        "SELECT days_known, days_missing, learnt_from FROM cost_forecast_training",
    )
    assert (known, missing, first) == (3, 2, days_ago(5))


def test_a_day_that_was_not_over_when_its_rollup_was_made_is_not_known(
    database, database_url
):
    spend(database_url, [7.0, 8.0, 9.0])
    execute(
        database_url,
        "UPDATE daily_rollup_total SET computed_at = (day + 1)::timestamp AT TIME ZONE "
        f"'UTC' - interval '1 second' WHERE day = '{days_ago(1)}'",
    )
    assert learnt(database)["UTC"].values == (7, 8, None)


def test_what_no_day_can_cost_is_not_learnt_from_and_said(database, database_url):
    costs = ["NaN", "Infinity", "-3", "1e300"]
    spend(database_url, [5.0] * 20 + costs + [5.0] * 20)
    (training,) = train(database, IN_UTC, NOW)
    assert training.forecast.series.values[20:24] == (None,) * 4
    assert {day.cost for day in training.forecast.days} == {5.0}
    assert f"count as missing: {days_ago(24)}, {days_ago(23)}," in training.note


def test_what_is_read_back_is_what_was_forecast(database, database_url):
    spend(database_url, weekly(400, 1), ZONE)
    _, made = (training.forecast for training in train(database, SETTINGS, NOW))
    found = outlook(database, ZONE)
    assert found is not None
    assert (found.model, found.reason, found.made_on) == (
        made.model,
        made.reason,
        made.made_on,
    )
    assert len(found.days) == 90
    for read, day in zip(found.days, made.days, strict=True):
        inner, outer = day.intervals
        assert inner is not None
        assert outer is not None
        assert read.day == day.day
        expected = (day.cost, inner.low, inner.high, outer.low, outer.high)
        assert [
            *(read.cost_usd, read.low_50_usd, read.high_50_usd),
            *(read.low_80_usd, read.high_80_usd),
        ] == pytest.approx([round(Decimal(v), 5) for v in expected])
    assert [t.horizon for t in found.totals] == ["7d", "30d", "90d", "month_end"]
    for total, sums in zip(found.totals, made.totals, strict=True):
        assert float(total.cost_usd) == pytest.approx(sums.cost, abs=1e-5)
        assert float(total.spent_usd) == pytest.approx(sums.spent, abs=1e-5)
        assert (total.first_day, total.last_day) == (sums.first_day, sums.last_day)
    assert made.score is not None
    score = found.scores[0]
    assert (score.is_used, score.days_tested) == (True, made.score.tested)
    assert float(score.coverage_80_pct or 0) == pytest.approx(
        100 * (made.score.coverage[1] or 0), abs=0.01
    )
    assert {s.model for s in found.scores} == {
        *("weekday_level", "weekday_mean", "seasonal_naive")
    }


def test_before_the_first_training_there_is_none(database):
    assert outlook(database, "UTC") is None


@pytest.mark.parametrize(
    ("costs", "model"),
    [
        ([], None),
        ([4.0], "flat_mean"),
        ([4.0] * 13, "flat_mean"),
        ([4.0] * 14, "weekday_mean"),
        ([0.0] * 60, None),
        ([4.0] * 60 + [0.0] * 40, "paused"),
        ([12.5] * 120, "weekday_level"),
        *((make(400, 3), None) for make in KINDS.values()),
    ],
    ids=["empty", "one", "short", "two_weeks", "zeros", "paused", "constant", *KINDS],
)
def test_a_series_of_any_kind_is_forecast_and_kept(
    database, database_url, costs, model
):
    spend(database_url, costs)
    train(database, IN_UTC, NOW)
    found = outlook(database, "UTC")
    assert found is not None
    assert len(found.days) == (90 if any(costs) else 0)
    assert len(found.totals) == (4 if any(costs) else 0)
    if model or not any(costs):
        assert found.model == model
    if not any(costs):
        assert found.note == "No day's cost is known yet."


@examples(10)
@given(st.lists(st.none() | st.floats(0, 1e12) | st.floats(), max_size=70))
def test_whatever_the_days_hold_a_forecast_meets_the_tables_conditions(
    database, database_url, costs
):
    execute(database_url, "DELETE FROM daily_rollup_total")
    spend(database_url, [None if c is None else Decimal(c) for c in costs])
    train(database, IN_UTC, NOW)
    ((days, totals),) = query(
        database_url,
        "SELECT (SELECT count(*) FROM cost_forecast), "
        "(SELECT count(*) FROM cost_forecast_horizon)",
    )
    assert (days, totals) in {(90, 4), (0, 0)}


def test_made_again_on_the_same_day_it_is_replaced_and_other_days_are_kept(
    database, database_url
):
    spend(database_url, [3.0] * 40)
    for day in (3, 1, 0, 0):
        train(database, IN_UTC, NOW - timedelta(days=day))
    made = "SELECT made_on, count(*) FROM cost_forecast_day GROUP BY 1 ORDER BY 1"
    assert query(database_url, made) == [(days_ago(number), 90) for number in (3, 1, 0)]
    for view in ("cost_forecast", "cost_forecast_horizon"):
        assert query(database_url, f"SELECT DISTINCT made_on FROM {view}") == [(TODAY,)]
    newest = outlook(database, "UTC")
    assert newest is not None
    assert newest.made_on == TODAY


def test_one_that_was_made_while_a_clock_was_wrong_does_not_stay_the_newest(
    database, database_url
):
    spend(database_url, [3.0] * 40)
    train(database, IN_UTC, NOW + timedelta(days=400))
    train(database, IN_UTC, NOW)
    assert query(database_url, "SELECT made_on FROM cost_forecast_training") == [
        (TODAY,)
    ]


def test_a_time_zone_that_is_configured_no_longer_leaves(database, database_url):
    spend(database_url, [3.0] * 40, ZONE)
    train(database, SETTINGS, NOW)
    train(database, IN_UTC, NOW)
    zones = "SELECT DISTINCT time_zone FROM cost_forecast_training"
    assert query(database_url, zones) == [("UTC",)]
    assert query(database_url, "SELECT count(*) FROM cost_forecast") == [(0,)]


def test_a_training_is_kept_as_a_whole_or_not_at_all(database, database_url):
    spend(database_url, weekly(60, 1))
    train(database, IN_UTC, NOW)
    before = query(database_url, "SELECT * FROM cost_forecast ORDER BY day")
    spend(database_url, [1e6] * 20, until=days_ago(60))
    execute(database_url, "ALTER TABLE cost_forecast_score RENAME TO away")
    with pytest.raises(SchemaMissingError):
        train(database, IN_UTC, NOW)
    execute(database_url, "ALTER TABLE away RENAME TO cost_forecast_score")
    assert query(database_url, "SELECT * FROM cost_forecast ORDER BY day") == before


def test_two_trainings_at_once_neither_fail_nor_double(database, database_url):
    spend(database_url, weekly(90, 1))
    failures: list[BaseException] = []

    def work():
        try:
            for _ in range(3):
                train(database, SETTINGS, NOW)
        except BaseException as error:  # noqa: BLE001  reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert failures == []
    assert query(database_url, "SELECT count(*) FROM cost_forecast") == [(90,)]


def test_what_came_of_a_forecast_stands_beside_it(database, database_url):
    costs = weekly(110, 4)
    spend(database_url, costs[:100], until=days_ago(10))
    train(database, IN_UTC, NOW - timedelta(days=10))
    spend(database_url, costs[100:])
    found = query(
        database_url,
        "SELECT day, days_ahead, cost_usd, actual_usd, error_usd, low_80_usd, "
        "high_80_usd, is_inside_80 FROM cost_forecast_outcome ORDER BY day",
    )
    # The tenth day before today was not over when the forecast was made, and is now.
    assert [row[0] for row in found] == [
        days_ago(number) for number in range(10, 0, -1)
    ]
    for (_, ahead, forecast, actual, error, low, high, inside), cost in zip(
        found, costs[100:], strict=True
    ):
        assert float(actual) == pytest.approx(cost)
        assert error == actual - forecast
        assert inside == (low <= actual <= high)
        assert 1 <= ahead <= 10


def test_the_newest_forecast_says_how_often_its_intervals_have_held(
    database, database_url
):
    spend(database_url, weekly(300, 2))
    (training,) = train(database, IN_UTC, NOW)
    score = training.forecast.score
    assert score is not None
    ((day80,),) = query(
        database_url, "SELECT DISTINCT coverage_80_pct FROM cost_forecast"
    )
    assert float(day80) == pytest.approx(100 * (score.coverage[1] or 0), abs=0.01)
    ((days, sum80),) = query(
        database_url,
        "SELECT DISTINCT sum_days, sum_coverage_80_pct FROM cost_forecast_horizon",
    )
    assert days == 30
    assert float(sum80) == pytest.approx(100 * (score.sum_coverage[1] or 0), abs=0.01)


def test_what_yesterday_cost_is_held_against_what_was_forecast_for_it(
    database, database_url
):
    costs = weekly(110, 4)
    spend(database_url, costs[:109], until=days_ago(1))
    for earlier in (9, 1):
        train(database, IN_UTC, NOW - timedelta(days=earlier))
    spend(database_url, [77.0])
    (training,) = train(database, IN_UTC, NOW)
    ((cost, low, high),) = query(
        database_url,
        "SELECT cost_usd, low_80_usd, high_80_usd FROM cost_forecast_day WHERE day = "
        f"'{days_ago(1)}' AND made_on = '{days_ago(1)}'",
    )
    assert training.yesterday == DayOutcome(
        days_ago(1), 77.0, float(cost), float(low), float(high)
    )


def test_a_yesterday_that_was_never_forecast_is_held_against_nothing(
    database, database_url
):
    spend(database_url, weekly(60, 4))
    (training,) = train(database, IN_UTC, NOW)
    assert training.yesterday is None
    (again,) = train(database, IN_UTC, NOW)
    assert again.yesterday is None


def campaigns(database_url, costs):
    """Rollups of campaigns, and of all together, for the days before today."""
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for campaign, values in costs.items():
            cursor.executemany(
                """
                INSERT INTO daily_campaign_rollup (
                    time_zone, day, campaign_id, phase, runs, agents_total,
                    agents_successful, assets_generated, tokens_in, tokens_out, cost_usd
                )
                VALUES ('UTC', %s, %s, '2-3', 1, 1, 1, 1, 1, 1, %s)
                """,
                [
                    (days_ago(len(values) - number), campaign, cost)
                    for number, cost in enumerate(values)
                    if cost
                ],
            )
    spend(database_url, [sum(each) for each in zip(*costs.values(), strict=True)])


def test_the_campaigns_that_carry_the_cost_are_forecast_and_the_others_as_one(
    database, database_url
):
    steady, fading = [50.0] * 100, [40.0] * 60 + [30.0] * 40
    small = {f"small {n}": [1.0] * 100 for n in range(5)}
    execute(
        database_url,
        "INSERT INTO campaign_name VALUES ('steady', 'Spring sale')",
    )
    campaigns(database_url, {"steady": steady, "fading": fading, **small})
    train(database, IN_UTC, NOW)
    found = outlook(database, "UTC")
    assert found is not None
    month = [each for each in found.campaigns if each.horizon == "30d"]
    assert [(c.campaign_id, c.campaign_name, float(c.last_28d_usd)) for c in month] == [
        ("steady", "Spring sale", 1400),
        ("fading", None, 840),
        ("(others)", None, 140),
    ]
    expected = (1500, 900, 150)
    for each, cost in zip(month, expected, strict=True):
        assert float(each.cost_usd) == pytest.approx(cost, rel=0.05)
    whole = next(t.cost_usd for t in found.totals if t.horizon == "30d")
    parts = sum(each.cost_usd for each in month)
    assert {each.difference_usd for each in month} == {parts - whole}


def test_a_campaign_that_began_lately_is_forecast_from_its_own_days(
    database, database_url
):
    campaigns(
        database_url,
        {"old": [10.0] * 100, "new": [0.0] * 90 + [90.0] * 10},
    )
    (training,) = train(database, IN_UTC, NOW)
    parts = {campaign: made for campaign, _, made in training.parts}
    assert parts["new"].series.known == 10
    assert parts["new"].days[0].cost == pytest.approx(90)
    assert set(parts) == {"old", "new"}


def test_without_any_cost_lately_no_campaign_is_forecast(database, database_url):
    campaigns(database_url, {"old": [10.0] * 50 + [0.0] * 40})
    (training,) = train(database, IN_UTC, NOW)
    assert training.parts == []
