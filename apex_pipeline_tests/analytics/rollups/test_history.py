"""The history that analysts read, held against pandas."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import psycopg
import pytest
from psycopg.rows import dict_row

from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.ends import insert
from apex_pipeline_tests.support.rollup_reference import metric

ZONE = "America/New_York"
LENGTH = 10


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


def read(database_url, statement, *values):
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode(), values).fetchall()


def test_averages_and_the_window_before_are_what_pandas_makes_of_the_days(
    database, database_url
):
    today = datetime.now(ZoneInfo(ZONE)).date()
    start = datetime(today.year, today.month, today.day, 17, tzinfo=UTC)
    rows = [
        metric(
            start - timedelta(days=age),
            agents_total=1 + (age * 7 + n) % 9,
            agents_successful=(age + n) % 2,
            cost_usd=Decimal(age * n + 1) / 8,
            latency_avg_ms=1000 + age * 31 + n,
            tokens_in=age**2,
        )
        for age in range(1, 28)
        if age % 6
        for n in range(age % 4 + 1)
    ]
    insert(database_url, rows)
    settings = load_analysis_settings({"APEX_TIME_ZONE": ZONE})
    first, last = today - timedelta(days=26), today
    refresh(database, settings, Periods(DAILY, first, last))

    frame = pd.DataFrame(rows)
    frame["weighted"] = frame["latency_avg_ms"] * frame["agents_total"]
    frame["cost_usd"] = frame["cost_usd"].astype(float)
    frame["day"] = [row["created_at"].date() for row in rows]
    days = frame.groupby("day")[
        ["agents_total", "agents_successful", "tokens_in", "cost_usd", "weighted"]
    ].sum()
    days["runs"] = frame.groupby("day").size()
    every = [today - timedelta(days=age) for age in range(26, 0, -1)]
    days = days.reindex(every, fill_value=0)
    week = days.rolling(7, min_periods=1)
    mean, total = week.mean(), week.sum()

    found = read(database_url, "SELECT * FROM campaign_history(%s, %s)", LENGTH, ZONE)
    assert [row["day"] for row in found] == every[-LENGTH:]
    for row in found:
        day = row["day"]
        assert row["is_computed"]
        assert row["runs"] == days.loc[day, "runs"]
        assert float(row["cost_avg_7d_usd"]) == pytest.approx(
            mean.loc[day, "cost_usd"], abs=0.00001
        )
        assert float(row["runs_avg_7d"]) == pytest.approx(
            mean.loc[day, "runs"], abs=0.005
        )
        assert float(row["success_rate_7d_pct"]) == pytest.approx(
            100 * total.loc[day, "agents_successful"] / total.loc[day, "agents_total"],
            abs=0.0001,
        )
        assert float(row["latency_avg_7d_ms"]) == pytest.approx(
            total.loc[day, "weighted"] / total.loc[day, "agents_total"], abs=0.01
        )
        before = day - timedelta(days=LENGTH)
        assert row["day_before"] == before
        assert row["runs_before"] == int(days.loc[before, "runs"])
        assert float(row["cost_before_usd"]) == pytest.approx(
            days.loc[before, "cost_usd"]
        )
        assert row["tokens_in_before"] == int(days.loc[before, "tokens_in"])


def test_a_day_without_runs_is_told_from_one_that_is_not_computed(
    database, database_url
):
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    refresh(database, load_analysis_settings({}), Periods(DAILY, yesterday, yesterday))
    *others, last = read(database_url, "SELECT * FROM campaign_history_30d")
    assert (last["day"], last["is_computed"], last["runs"]) == (yesterday, True, 0)
    assert last["success_rate_pct"] is None
    assert last["cost_avg_7d_usd"] == 0
    assert len(others) == 29
    assert {(row["is_computed"], row["runs"]) for row in others} == {(False, None)}


@pytest.mark.parametrize("length", [30, 60, 90])
def test_the_views_are_the_function(database_url, length):
    found = read(database_url, f"SELECT * FROM campaign_history_{length}d")
    assert found == read(database_url, "SELECT * FROM campaign_history(%s)", length)
    assert len(found) == length
    assert found[-1]["day"] == datetime.now(UTC).date() - timedelta(days=1)
