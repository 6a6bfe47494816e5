"""The queries of docs/analysts.md, against known answers, in two time zones."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.support.ends import execute, insert, query
from apex_pipeline_tests.support.rollup_reference import metric, mondays

PAGE = (Path(__file__).parents[2] / "docs" / "analysts.md").read_text()
SECTION = PAGE.partition("\n## Questions")[2].partition("\n## ")[0]
QUERIES = re.findall(r"### ([^\n]*)\n\n```sql\n(.*?)```", SECTION, re.DOTALL)
PER_AGENT, FELL_MOST, MONTH_TO_DATE, LAST_MONTH = (
    statement for _, statement in QUERIES
)
ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture(params=["UTC", "Pacific/Auckland"])
def zone(request):
    return request.param


def ask(database_url, statement):
    """As an analyst, who may read nothing else."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET ROLE apex_analyst")
        return connection.execute(statement).fetchall()


@pytest.fixture
def rows(database_url, zone):
    """Four months of runs, at 13:00 UTC: another day in Auckland."""
    now = datetime.now(UTC)
    found = [
        metric(
            at,
            campaign_id=campaign,
            cost_usd=Decimal(cost),
            agents_total=5,
            agents_successful=4,
        )
        for ago in range(1, 120)
        if (at := now.replace(hour=13, minute=0) - timedelta(days=ago)) < now
        # The second campaign stopped a month ago.
        for campaign, cost in ((ONE, 10 + ago % 3), (TWO, 30))
        if campaign is ONE or ago > 9
    ]
    insert(database_url, found)
    execute(database_url, f"INSERT INTO campaign_name VALUES ('{ONE}', 'Spring sale')")
    settings = load_analysis_settings({"APEX_TIME_ZONE": zone})
    today = now.astimezone(ZoneInfo(zone)).date()
    first, last_monday = today - timedelta(days=121), today - timedelta(days=7)
    with Database(database_url, application_name="test") as database:
        refresh(database, settings, Periods(DAILY, first, today))
        weeks = mondays(first + timedelta(days=6), last_monday)
        refresh(database, settings, Periods(WEEKLY, weeks[0], weeks[-1]))
        train(database, settings, now)
    return found


def day(row, zone):
    return row["created_at"].astimezone(ZoneInfo(zone)).date()


def week(row, zone):
    label = day(row, zone)
    return label - timedelta(days=label.weekday())


def name(row):
    return "Spring sale" if row["campaign_id"] == ONE else str(TWO)


def test_the_page_asks_four_questions():
    assert len(QUERIES) == 4


def test_what_a_successful_agent_costs(database_url, rows, zone):
    found = ask(database_url, PER_AGENT)
    newest = found[0][0]
    assert len({each for each, *_ in found}) >= 15
    for label, campaign, cost in found:
        runs = [r for r in rows if (week(r, zone), name(r)) == (label, campaign)]
        if runs:
            expected = sum(r["cost_usd"] for r in runs) / (4 * len(runs))
            assert cost == round(expected, 4), (label, campaign)
        else:
            assert (campaign, cost) == (str(TWO), None)
    assert newest == max(
        w for (w,) in query(database_url, "SELECT week FROM totals_weekly")
    )


def test_which_campaigns_fell_most(database_url, rows, zone):
    ((newest,),) = query(database_url, "SELECT max(week) FROM totals_weekly")
    spent = {
        (campaign, label): sum(
            r["cost_usd"] for r in rows if (name(r), week(r, zone)) == (campaign, label)
        )
        for campaign in ("Spring sale", str(TWO))
        for label in (newest, newest - timedelta(days=7))
    }
    changes = {
        campaign: spent[campaign, newest] - spent[campaign, newest - timedelta(days=7)]
        for campaign in ("Spring sale", str(TWO))
    }
    expected = sorted((c, n) for n, c in changes.items() if c < 0)
    assert ask(database_url, FELL_MOST) == [(n, c) for c, n in expected]
    ((total,),) = query(
        database_url,
        "SELECT cost_usd_change FROM totals_weekly ORDER BY week DESC LIMIT 1",
    )
    assert total == sum(changes.values())


def test_the_month_to_date_against_its_forecast(database_url, rows, zone):
    today = datetime.now(ZoneInfo(zone)).date()
    ((spent, month, _, _),) = ask(database_url, MONTH_TO_DATE)
    expected = sum(
        r["cost_usd"] for r in rows if today.replace(day=1) <= day(r, zone) < today
    )
    assert spent == expected
    assert month > spent


def test_what_last_month_cost(database_url, rows, zone):
    this = datetime.now(ZoneInfo(zone)).date().replace(day=1)
    last = (this - timedelta(days=1)).replace(day=1)
    expected = sum(r["cost_usd"] for r in rows if last <= day(r, zone) < this)
    assert ask(database_url, LAST_MONTH) == [(expected,)]
