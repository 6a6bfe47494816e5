"""Days that a forecast must not believe: outliers, pauses, regimes that are over."""

from datetime import date, timedelta

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.forecast import DailySeries, daily_series, forecast
from apex_pipeline.analytics.forecast.intervals import poisson
from apex_pipeline.analytics.forecast.known_past import CostPause, Past
from apex_pipeline.analytics.forecast.training import MOST_TIMES
from apex_pipeline_tests.support.cost_series import (
    EVENTS,
    KINDS,
    WEEK,
    intermittent,
    weekly,
)
from apex_pipeline_tests.support.examples import examples

START = date(2026, 1, 5)
USUAL = [60 * WEEK[n % 7] for n in range(400)]


def of(values):
    return forecast(DailySeries(START, tuple(values)))


def day(index):
    return START + timedelta(index)


def month(found):
    return next(total for total in found.totals if total.horizon == "30d")


def with_days(values, changes):
    return [changes.get(index - len(values), v) for index, v in enumerate(values)]


def pilot(level, pause, after):
    ran = [level * WEEK[n % 7] for n in range(36)]
    return [*ran, *[0.0] * pause, *USUAL[:after]]


@pytest.mark.parametrize("level", [1e-4, 6.0, 60.0, 600.0])
@pytest.mark.parametrize("pause", [90, 150, 225])
@pytest.mark.parametrize("after", [5, 20, 60, 120])
def test_after_a_pilot_and_months_of_nothing_the_forecast_is_what_runs_now(
    level, pause, after
):
    found = of(pilot(level, pause, after))
    assert month(found).cost == pytest.approx(1543, rel=0.3 if after < 14 else 0.04)
    for total in found.totals:
        interval = total.intervals[1]
        assert interval is None or interval.high < 2 * total.cost
    assert f"nothing ran {'until' if level != 60 else 'from'}" in found.note
    assert str(day(36 + pause - 1)) in found.note


def test_a_regime_that_is_over_is_told_with_its_days_and_its_level():
    found = of(pilot(6.0, 100, 60))
    assert found.series.first_day == day(136)
    assert found.note.startswith(
        f"From {day(0)} to {day(35)} most days cost $6.60, now $66.00. In between nothing "
        f"ran until {day(135)}. The forecast learns from {day(136)} on."
    )


def test_what_ran_before_a_long_pause_is_still_learnt_from_if_it_is_alike():
    found = of([*USUAL[:210], *[0.0] * 35, *USUAL[:7]])
    assert found.series.first_day == START
    assert month(found).cost == pytest.approx(1543, rel=0.04)
    assert month(found).intervals[1] is not None


def test_two_weeks_of_nothing_that_have_just_ended_are_told_and_set_no_level():
    found = of([*USUAL[:210], *[0.0] * 14, *USUAL[:2]])
    assert (
        f"nothing ran from {day(210)} to {day(223)}; counted as zero cost" in found.note
    )
    assert month(found).cost == pytest.approx(1543, rel=0.1)


def test_a_pause_that_has_repeated_is_part_of_how_things_go():
    weeks = [*USUAL[:28], *[0.0] * 14] * 4
    found = of([*weeks, *USUAL[:7]])
    assert month(found).cost < 0.9 * 1543
    assert found.note.count("nothing ran from") == 1
    assert "and 1 times before; counted as zero cost." in found.note


def test_a_pause_that_goes_on_is_told_and_has_no_interval():
    for length in (5, 14, 20):
        found = of([*USUAL[:210], *[0.0] * length])
        assert (
            f"nothing ran from {day(210)} to {day(209 + length)}; counted as zero cost."
            in found.note
        )
        assert "No interval: no past days show how much runs after a pause." in (
            found.note
        )
        parts = (*found.days, *found.totals)
        assert {i for part in parts for i in part.intervals} == {None}


@pytest.mark.parametrize("length", [21, 60, 300])
def test_after_weeks_of_nothing_that_go_on_nothing_is_forecast(length):
    found = of([*USUAL[:210], *[0.0] * length])
    assert found.model == "paused"
    assert {part.cost - getattr(part, "spent", 0.0) for part in found.totals} == {0.0}
    assert "counted as zero cost, and so are the days to come." in found.note


def test_four_idle_days_or_idle_days_of_a_sparse_series_are_no_pause():
    assert of([*USUAL[:210], *[0.0] * 4, *USUAL[:7]]).note == ""
    for seed in range(5):
        assert "nothing ran" not in of(intermittent(300, seed)).note


def test_days_on_which_something_ran_at_no_cost_are_no_pause():
    known = {day(n): v for n, v in enumerate([*USUAL[:60], *[0.0] * 10, *USUAL[:5]])}
    until = day(75)
    assert "nothing ran" in forecast(daily_series(known, until)).note
    free = [day(n) for n in range(60, 70)]
    assert "nothing ran" not in forecast(daily_series(known, until, free)).note


def test_closed_weekends_are_no_pause_and_a_closed_week_is():
    weeks = [0.0 if n % 7 > 4 else 60.0 for n in range(140)]
    assert of(weeks).note == ""
    closed = [*weeks, *[0.0] * 7, *weeks[:14]]
    # Together with the weekend before it.
    assert f"nothing ran from {day(138)} to {day(146)}" in of(closed).note


@pytest.mark.parametrize("ago", [1, 2, 7, 30, 60, 90, 200])
@pytest.mark.parametrize("known", [60, 90, 365])
def test_one_day_of_another_order_neither_sets_the_level_nor_hides(ago, known):
    values = weekly(known, 7)
    usual = month(of(values))
    if ago > known:
        ago = known
    found = of(with_days(values, {-ago: 50_000.0}))
    assert month(found).cost == pytest.approx(usual.cost, rel=0.08)
    assert f"{day(known - ago)} cost $50,000.00, where $" in found.note
    assert "left out of the forecast until it repeats." in found.note
    interval, before = month(found).intervals[1], usual.intervals[1]
    if interval and before:
        assert interval.high < 1.3 * before.high


def test_what_was_spent_of_the_month_holds_the_outlier():
    """It is what the days to come are like that it says nothing of."""
    known = (date(2026, 11, 20) - START).days
    found = of(with_days(weekly(known, 7), {-3: 50_000.0}))
    ends = next(t for t in found.totals if t.horizon == "month_end")
    assert ends.spent > 50_000
    assert ends.cost - ends.spent < 2_000


@pytest.mark.parametrize("days", [(1, 2), (1, 30), (60, 90)])
def test_an_outlier_that_has_repeated_counts_as_often_as_it_repeated(days):
    values = weekly(365, 7)
    usual = month(of(values))
    found = of(with_days(values, {-ago: 50_000.0 for ago in days}))
    # The second of two repeated the first, in the half-year that sets the level.
    assert month(found).cost == pytest.approx(usual.cost + 30 * 50_000 / 182, rel=0.03)
    assert "left out" not in found.note
    assert f"Far above what is usual were {day(365 - days[1])} ($50,000.00)" in (
        found.note
    )
    # Mostly there is none of them in a month, at times one.
    inner, outer = month(found).intervals
    assert inner.low < 1.2 * usual.cost
    assert outer.low < 1.2 * usual.cost
    assert 50_000 < outer.high < 120_000


@pytest.mark.parametrize("times", [3, 8, 20, 100])
def test_a_lasting_step_is_followed_within_a_fortnight(times):
    values = [*weekly(200, 7), *[times * v for v in weekly(42, 8)]]
    true = times * 30 / 7 * 600
    assert month(of(values[:214])).cost == pytest.approx(true, rel=0.25)
    assert month(of(values)).cost == pytest.approx(true, rel=0.1)
    assert of(values).note == ""


def test_days_of_a_size_that_comes_in_runs_are_a_level_and_no_outliers():
    past = Past([*[5.0] * 60, *[100.0] * 5, *[5.0] * 60])
    assert past.before(125).outliers == past.before(125).repeated == ()
    assert [o.at for o in past.before(61).outliers] == [60]


def test_the_first_day_of_a_run_is_no_outlier_where_such_runs_are_known():
    run = [100.0, 110.0, 120.0]
    past = [*[5.0] * 30, *run, *[5.0] * 27, *run, *[5.0] * 27, 130.0]
    known = Past(past).before(len(past))
    assert known.outliers == known.repeated == ()
    alone = [*[5.0] * 30, 100.0, *[5.0] * 29, 110.0, *[5.0] * 29, 130.0]
    assert len(Past(alone).before(len(alone)).repeated) == 3


def test_one_busy_day_does_not_end_a_pause_nor_begin_a_regime():
    """It may be one of the rare days that there were before."""
    rare = [50.0, *[0.0] * 13, 122.0, *[0.0] * 4, 26.0, *[0.0] * 99, 156.0]
    found = of(rare)
    assert month(found).cost < 1_000
    assert "is over" not in found.note


def test_what_is_recognised_of_a_day_is_what_was_known_by_then():
    values = with_days([*USUAL[:300], *[0.0] * 30, *USUAL[:20]], {-200: 9e5, -40: 9e5})
    whole = Past(values)
    for at in range(1, len(values) + 1):
        assert whole.before(at) == Past(values[:at]).before(at)


def test_a_pause_is_left_out_from_the_day_on_that_it_is_over():
    past = Past([*USUAL[:210], *[0.0] * 10, *USUAL[:9]])
    goes_on, over = past.before(220), past.before(221)
    assert goes_on.resting == CostPause(210, 219)
    assert goes_on.values[210:220] == (0.0,) * 10
    assert over.resting is None
    assert over.values[210:220] == (None,) * 10


amounts = st.one_of(
    st.none(), st.just(0.0), st.floats(0, 1e9, allow_subnormal=False), st.just(60.0)
)


@examples(30)
@given(
    st.lists(st.tuples(amounts, st.integers(1, 40)), max_size=12).map(
        lambda runs: [value for value, count in runs for _ in range(count)]
    )
)
def test_nothing_reaches_beyond_ten_times_what_ever_happened(values):
    found = of(values)
    highest = max((v for v in values if v is not None), default=0.0)
    for part in found.days:
        bounds = [part.cost, *(i.high for i in part.intervals if i)]
        assert max(bounds) <= MOST_TIMES * highest * (1 + 1e-9)
    for total in found.totals:
        days = (total.last_day - total.first_day).days + 1
        bounds = [total.cost, *(i.high for i in total.intervals if i)]
        most = MOST_TIMES * highest * days
        assert max(bounds) - total.spent <= most * (1 + 1e-9)


def test_costs_as_far_apart_as_numbers_go_do_not_overflow():
    nearly_nothing, usual, dearest = 1e-300, 60.0, 1e9
    series = [nearly_nothing, usual] * 15 + [dearest] + [usual] * 15
    assert of(series).days


@pytest.mark.parametrize("kind", {**KINDS, **EVENTS}.items(), ids=lambda k: k[0])
def test_no_interval_of_a_month_is_wider_than_six_times_the_dearest_one(kind):
    for seed in range(5):
        values = kind[1](200, seed)
        found = of(values)
        dearest = found.series.most(30)
        interval = month(found).intervals[1]
        assert interval is None or interval.high - interval.low <= 6 * dearest


def test_the_count_of_rare_days_is_poissons():
    assert [poisson(0.0, share) for share in (0.1, 0.9)] == [0, 0]
    assert [poisson(0.33, share) for share in (0.1, 0.71, 0.72, 0.9)] == [0, 0, 1, 1]
    assert [poisson(10.0, share) for share in (0.1, 0.5, 0.9)] == [6, 10, 14]
