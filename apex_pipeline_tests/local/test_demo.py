import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from statistics import mean, median
from uuid import UUID

import psycopg
import pytest

from apex_pipeline.local import demo
from apex_pipeline.local.demo import DemoRun, campaigns, fill, history, live_run
from apex_pipeline.metrics import CampaignMetric, read_metric

NOW = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)
QUARTER = timedelta(days=90)


@pytest.fixture(scope="module")
def quarter() -> list[DemoRun]:
    return history(NOW - QUARTER, NOW)


def count(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM campaign_metrics").fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("year", [2024, 2026, 2031])
def test_ninety_days_are_some_thousand_runs_of_a_few_campaigns(year):
    until = datetime(year, 11, 23, tzinfo=UTC)
    runs = history(until - QUARTER, until)

    assert 3_500 < len(runs) < 7_000
    assert 6 <= len({run.campaign_id for run in runs}) <= 12
    assert {run.phase for run in runs} == {"1", "2-3", "4", "5"}


def test_every_run_can_travel_to_dataverse(quarter):
    for run in quarter:
        row = {name: getattr(run, name) for name in DemoRun.__dataclass_fields__}
        assert isinstance(read_metric(row), CampaignMetric)


def test_the_figures_of_a_run_agree_with_each_other(quarter):
    for run in quarter:
        assert 0 <= run.agents_successful <= run.agents_total
        share = 100 * run.agents_successful / run.agents_total
        assert abs(float(run.success_rate_pct) - share) <= 0.005
        assert run.latency_p95_ms > run.latency_avg_ms > 0
        assert run.tokens_in > run.tokens_out > 0
        per_token = float(run.cost_usd) / (run.tokens_in + run.tokens_out)
        assert 0.000003 < per_token < 0.000015


def test_ids_are_unique_and_instants_lie_in_the_window(quarter):
    assert len({run.id for run in quarter}) == len(quarter)
    assert all(NOW - QUARTER < run.created_at < NOW for run in quarter)
    assert quarter == sorted(quarter, key=lambda run: run.created_at)


def test_most_happens_on_working_days_in_working_hours(quarter):
    weekdays = Counter(run.created_at.weekday() for run in quarter)
    hours = Counter(run.created_at.hour for run in quarter)

    assert min(weekdays[day] for day in range(5)) > max(weekdays[5], weekdays[6])
    assert min(hours[hour] for hour in range(9, 16)) > 3 * hours[2]


def test_a_campaign_costs_more_the_longer_it_runs():
    followed = campaigns(date(2026, 5, 1), date(2026, 11, 1))
    begins = {
        each.id: datetime.combine(each.starts, datetime.min.time(), UTC)
        for each in followed
    }
    until = max(begins[each.id] + timedelta(days=each.days) for each in followed)
    cost: dict[UUID, dict[int, list[float]]]
    cost = {name: defaultdict(list) for name in begins}
    for run in history(min(begins.values()), until):
        if run.campaign_id in begins:
            week = (run.created_at - begins[run.campaign_id]).days // 7
            cost[run.campaign_id][week].append(float(run.cost_usd) / run.agents_total)
    for weeks in cost.values():
        assert mean(weeks[max(weeks)]) > 1.1 * mean(weeks[0])


def test_now_and_then_agents_fail(quarter):
    failed = [run for run in quarter if run.success_rate_pct < 50]

    assert 0 < len(failed) < len(quarter) / 20


def test_history_is_the_same_in_one_piece_and_in_two(quarter):
    middle = NOW - timedelta(days=31, hours=5)

    parts = history(NOW - QUARTER, middle) + history(middle, NOW)

    assert parts == quarter


def test_a_live_run_belongs_to_a_campaign_of_today():
    today = {campaign.id for campaign in campaigns(NOW.date(), NOW.date())}
    one, other = live_run(NOW), live_run(NOW)

    assert {one.campaign_id, other.campaign_id} <= today
    assert one.created_at == NOW
    assert one.id != other.id


def test_a_day_of_live_runs_is_no_jump_of_costs_not_even_on_a_sunday(quarter):
    """More than twice the usual cost of such days would cause a warning."""
    count, mean_pause = 1000, sum(demo.SECONDS_BETWEEN_RUNS) / 2
    live = sum(live_run(NOW).cost_usd for _ in range(count))
    sundays = [
        sum(run.cost_usd for run in quarter if run.created_at.date() == day)
        for day in {run.created_at.date() for run in quarter}
        if day.weekday() == 6
    ]
    assert float(live) * 86_400 / mean_pause / count < median(sundays)


def test_history_is_written_once_and_later_only_the_gap(database_url):
    first = fill(database_url, now=NOW)
    assert first > 3_500
    assert fill(database_url, now=NOW) == 0

    gap = fill(database_url, now=NOW + timedelta(days=3))

    assert 0 < gap < 1_000
    assert count(database_url) == first + gap


def test_campaigns_have_names_of_their_own_which_people_may_change(database_url):
    fill(database_url, now=NOW)
    running = campaigns((NOW - QUARTER).date(), (NOW + QUARTER).date())
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT * FROM campaign_name").fetchall()
        connection.execute("UPDATE campaign_name SET name = 'Ours'")
    assert dict(rows) == {str(each.id): each.name for each in running}
    assert len({name for _, name in rows}) == len(rows)
    fill(database_url, now=NOW)
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT DISTINCT name FROM campaign_name").fetchall()
    assert kept == [("Ours",)]


def test_after_a_long_pause_no_more_than_ninety_days_are_filled(database_url):
    fill(database_url, now=NOW - timedelta(days=110))

    assert fill(database_url, now=NOW) == len(history(NOW - QUARTER, NOW))


def test_rows_of_real_campaigns_do_not_stand_in_for_the_demos(database_url):
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO campaign_metrics (campaign_id, run_id, agents_total,"
            " agents_successful, assets_generated, tokens_in, tokens_out, cost_usd,"
            " latency_p95_ms, latency_avg_ms, success_rate_pct, created_at) VALUES"
            " (gen_random_uuid(), gen_random_uuid(), 1, 1, 1, 1, 1, 1, 1, 1, 100, %s)",
            [NOW],
        )

    assert fill(database_url, now=NOW) > 3_500


def test_the_writer_goes_on_after_the_database_was_away(database_url, postgres):
    def let_in(answer: str) -> None:
        name = database_url.rpartition("/")[2]
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {answer}")

    program = (
        "import logging, os\n"
        "from apex_pipeline.local.demo import keep_writing\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "keep_writing(os.environ['DATABASE_URL'], sync=lambda: True,"
        " seconds_between=(0.02, 0.02), seconds_between_syncs=0.05)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            assert writer.stderr
            wait_for_line(writer.stderr, "one more run")
            let_in("false")
            wait_for_line(writer.stderr, "does not answer")
            let_in("true")
            before = count(database_url)
            wait_for_line(writer.stderr, "one more run")
            wait_for_line(writer.stderr, "one more run")
            assert count(database_url) > before
            wait_for_line(writer.stderr, "started a sync")
        finally:
            writer.kill()


def wait_for_line(lines: Iterable[str], text: str) -> None:
    assert any(text in line for line in lines), "it ended"
