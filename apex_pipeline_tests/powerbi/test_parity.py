"""Each measure comes to the figure that the rollups, the history and the panel have."""

import random
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.rows import dict_row

from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.analytics.rollups.refresh import refresh
from apex_pipeline.panel.kpis import Run, key_figures
from apex_pipeline.postgres.database import Database
from apex_pipeline.powerbi.model_tables import MODEL
from apex_pipeline.powerbi.utc_offsets import utc_changes
from apex_pipeline.settings import load_analysis_settings
from apex_pipeline_tests.powerbi.dax import (
    Context,
    UnknownDaxError,
    calendar,
    metrics_frame,
    value_of,
)
from apex_pipeline_tests.support.ends import insert
from apex_pipeline_tests.support.rollup_reference import metric

SLO = 50_000
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns"]


def settings_of(zone):
    return load_analysis_settings({"APEX_SLO_P95_MS": str(SLO), "APEX_TIME_ZONE": zone})


SETTINGS = settings_of("UTC")
MEASURES = MODEL.tables[0].measures


def random_rows(first: date, days: int, count: int, seed: int = 3):
    """Rows with what is awkward among them: no agents, no assets, no cost."""
    rng = random.Random(seed)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return [
        metric(
            start + timedelta(seconds=rng.randrange(days * 86_400)),
            id=UUID(int=number + 1),
            campaign_id=UUID(int=rng.randrange(4)),
            phase=rng.choice(["1", "2-3"]),
            agents_total=(agents := rng.choice([0, 1, 7, 30])),
            agents_successful=rng.randint(0, agents),
            assets_generated=rng.choice([0, 0, 5, 40]),
            tokens_in=rng.randrange(100_000),
            tokens_out=rng.randrange(20_000),
            cost_usd=Decimal(rng.randrange(500_000)) / 100_000,
            latency_p95_ms=rng.randrange(20_000, 80_000),
            latency_avg_ms=rng.randrange(20_000),
        )
        for number in range(count)
    ]


def context_of(rows, today: date, zone: str = "UTC") -> Context:
    changes = utc_changes(zone, 2026, 2027)
    frame = metrics_frame(rows, slo=SLO, today=today, changes=changes)
    return Context(frame, calendar(frame))


def read(database_url, statement, *values):
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        return connection.execute(statement.encode(), values).fetchall()


def twins(place):
    return [
        (measure.name, twin)
        for measure in MEASURES
        for twin in measure.twins
        if twin.place == place
    ]


def assert_same(measured, stored, scale, what, *, zone, slack="0.51"):
    """Equal to the last digit that is stored; a sum of nothing is blank, there zero.

    Args:
        measured: What the measure comes to.
        stored: The figure elsewhere, rounded.
        scale: Of the figure, to the measure.
        what: Shown where they differ.
        zone: In which the model has its times.
        slack: Largest difference, in units of the last digit stored.
    """
    if isinstance(measured, datetime):
        local = stored.astimezone(ZoneInfo(zone)).replace(microsecond=0, tzinfo=None)
        assert measured == local, what
        return
    if measured is None or stored is None:
        assert (measured or 0, stored or 0) == (0, 0), what
        return
    places = len(f"{Decimal(stored):f}".partition(".")[2])
    rounded = Decimal(str(measured)) * scale
    assert abs(rounded - stored) <= Decimal(slack).scaleb(-places), (what, measured)


def assert_all_same(place, context, row, zone="UTC"):
    found = twins(place)
    assert found
    # The history adds up days whose figures are rounded already.
    slack = "1" if place == "history" else "0.51"
    for name, twin in found:
        measured = value_of(name, context)
        what = (name, row)
        assert_same(measured, row[twin.name], twin.scale, what, zone=zone, slack=slack)


def panel_figures(rows):
    """What `/api/kpis` has of these rows."""
    names = [field.name for field in fields(Run)]
    return asdict(key_figures([Run(**{n: row[n] for n in names}) for row in rows]))


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="test") as opened:
        yield opened


@pytest.mark.parametrize("zone", ZONES)
def test_measures_are_the_figures_of_the_rollups_and_of_the_panel(
    database, database_url, zone
):
    """The clock changes in Berlin on the third day."""
    first, last = date(2026, 10, 23), date(2026, 11, 2)
    rows = random_rows(first + timedelta(days=1), 9, 150)
    insert(database_url, rows)
    refresh(database, settings_of(zone), Periods(DAILY, first, last))
    context = context_of(rows, date(2026, 11, 5), zone)

    totals = read(database_url, "SELECT * FROM totals_daily WHERE runs > 0")
    assert 9 <= len(totals) <= 10
    for row in totals:
        assert_all_same("rollup", context.on(row["day"]), row, zone)
        on_day = [
            each
            for each in rows
            if each["created_at"].astimezone(ZoneInfo(zone)).date() == row["day"]
        ]
        assert_all_same("api", context.on(row["day"]), panel_figures(on_day), zone)
    parts = read(database_url, "SELECT * FROM campaign_daily")
    assert len(parts) > 40
    for row in parts:
        within = context.on(row["day"]).where(
            campaign_id=row["campaign_id"], phase=row["phase"]
        )
        assert_all_same("rollup", within, row, zone)


def test_without_an_objective_no_share_of_slow_runs_is_made_up():
    rows = random_rows(date(2026, 10, 20), 3, 9)
    frame = metrics_frame(rows, slo=None, today=date(2026, 11, 1))
    context = Context(frame, calendar(frame))
    assert value_of("Slow Run Share", context) is None
    assert value_of("Slow Runs", context) is None


@pytest.mark.parametrize("zone", ZONES)
def test_seven_days_are_those_of_the_history(database, database_url, zone):
    today = datetime.now(ZoneInfo(zone)).date()
    first = today - timedelta(days=20)
    rows = random_rows(first, 20, 150)
    insert(database_url, rows)
    refresh(database, settings_of(zone), Periods(DAILY, first, today))
    context = context_of(rows, today, zone)
    history = read(database_url, "SELECT * FROM campaign_history(14)")
    assert len(history) == 14
    for row in history:
        assert_all_same("history", context.on(row["day"]), row)


def test_a_change_is_that_of_30_days_against_the_30_before(database, database_url):
    first, today = date(2026, 8, 20), date(2026, 11, 5)
    rows = random_rows(first, 80, 300)
    insert(database_url, rows)
    refresh(database, SETTINGS, Periods(DAILY, first, today))
    context = context_of(rows, today)
    (sums,) = read(
        database_url,
        """
        SELECT sum(cost_usd) FILTER (WHERE day >= %s) AS now,
            sum(cost_usd) FILTER (WHERE day < %s) AS before
        FROM daily_rollup_total WHERE day BETWEEN %s AND %s
        """,
        today - timedelta(days=30),
        today - timedelta(days=30),
        today - timedelta(days=60),
        today - timedelta(days=1),
    )
    assert value_of("Total Cost 30 Days", context) == sums["now"]
    assert value_of("Total Cost Previous 30 Days", context) == sums["before"]
    change = (sums["now"] - sums["before"]) / sums["before"]
    assert value_of("Total Cost Change", context) == pytest.approx(change)
    rate = value_of("Success Rate 30 Days", context)
    before = value_of("Success Rate Previous 30 Days", context)
    assert value_of("Success Rate Change", context) == pytest.approx(rate - before)


def test_without_the_30_days_before_there_is_no_change():
    context = context_of(random_rows(date(2026, 10, 20), 5, 20), date(2026, 10, 25))
    for measure in MEASURES:
        if measure.name.endswith(" Change"):
            assert value_of(measure.name, context) is None


@pytest.mark.parametrize("zone", ZONES)
def test_the_month_to_date_is_what_the_forecast_counts_as_spent(
    database, database_url, zone
):
    first, today = date(2026, 10, 1), date(2026, 11, 20)
    rows = random_rows(first, 51, 200)
    insert(database_url, rows)
    settings = settings_of(zone)
    refresh(database, settings, Periods(DAILY, first, today))
    train(database, settings, datetime(2026, 11, 20, 9, tzinfo=UTC))
    (row,) = read(
        database_url,
        "SELECT * FROM cost_forecast_horizon "
        "WHERE horizon = 'month_end' AND time_zone = %s",
        zone,
    )
    context = context_of(rows, today, zone)
    assert_all_same("forecast", context, row, zone)
    weekly = value_of("Total Cost 7-Day Mean", context)
    spent = value_of("Cost Month to Date", context)
    # From the 20th, which is not over, to the 30th.
    projected = value_of("Month-End Projection", context)
    assert projected == pytest.approx(spent + 11 * weekly)


def test_today_is_left_out_of_windows_since_it_is_not_over():
    rows = random_rows(date(2026, 10, 1), 12, 100)
    context = context_of(rows, today=date(2026, 10, 12))
    assert value_of("Last Whole Day", context) == date(2026, 10, 11)
    assert value_of("Last Whole Day", context.on(date(2026, 10, 5))) == date(
        2026, 10, 5
    )
    # The day of the refresh is the same whatever is in view.
    within = context.on(date(2026, 10, 12)).where(campaign_id="none", phase="none")
    assert value_of("Last Whole Day", within) == date(2026, 10, 11)


def test_records_count_on_the_day_of_their_delivery():
    rows = random_rows(date(2026, 10, 20), 3, 60)
    today = date(2026, 11, 1)
    frame = metrics_frame(
        rows, slo=SLO, today=today, delay=lambda n: timedelta(hours=n)
    )
    context = Context(frame, calendar(frame))
    for day in context.days:
        expected = sum(1 for each in frame["Delivered At"] if each.date() == day)
        assert (value_of("Records Delivered", context.on(day)) or 0) == expected
    assert value_of("Longest Delay", context) == 59 * 60
    assert value_of("Median Delay", context) == 29.5 * 60
    assert value_of("Last Delivery At", context) == frame["Delivered At"].max()


@pytest.mark.parametrize("measure", MEASURES, ids=lambda m: m.name)
def test_every_measure_can_be_evaluated(measure):
    context = context_of(random_rows(date(2026, 8, 1), 90, 90), date(2026, 10, 30))
    assert value_of(measure.name, context) is not None


def test_what_the_parser_reads_otherwise_than_dax_is_refused(monkeypatch):
    from apex_pipeline_tests.powerbi import dax  # noqa: PLC0415

    context = context_of(random_rows(date(2026, 8, 1), 2, 2), date(2026, 10, 30))
    with pytest.raises(UnknownDaxError):
        dax._Evaluation(context, {}).of(dax._parsed("1 - 2 - 3"))  # noqa: SLF001
