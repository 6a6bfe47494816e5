"""The forecast: which days it learns from, which model it uses, and what it promises."""

from datetime import date, timedelta

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.forecast import DailySeries, daily_series, forecast
from apex_pipeline.analytics.forecast.backtest import backtest, score, total
from apex_pipeline.analytics.forecast.intervals import MIN_CASES
from apex_pipeline.analytics.forecast.known_past import Past
from apex_pipeline.analytics.forecast.models import (
    flat_mean,
    seasonal_naive,
    weekday_level,
    weekday_mean,
)
from apex_pipeline.analytics.forecast.training import MODELS
from apex_pipeline_tests.support.cost_series import KINDS, shifting, weekly
from apex_pipeline_tests.support.examples import examples

START = date(2026, 1, 5)

amounts = st.one_of(st.none(), st.just(0.0), st.floats(0, 1e12, allow_subnormal=False))


def of(values, start=START):
    return forecast(DailySeries(start, tuple(values)))


def totals(found):
    return {t.horizon: t for t in found.totals}


def test_a_day_that_is_not_known_is_missing_and_one_without_cost_is_zero():
    known = {START: 5.0, START + timedelta(1): 0.0, START + timedelta(3): 7.0}
    series = daily_series(known, START + timedelta(5))
    assert series.values == (5.0, 0.0, None, 7.0, None)
    assert (series.first_day, series.known) == (START, 3)


def test_today_is_not_over_and_is_not_learnt_from():
    known = {START + timedelta(n): 1.0 for n in range(30)}
    series = daily_series(known, START + timedelta(29))
    assert series.end == START + timedelta(29)
    assert len(series.values) == 29


def test_zeros_before_the_first_cost_are_no_history():
    known = {START + timedelta(n): float(n >= 40) for n in range(60)}
    assert daily_series(known, START + timedelta(60)).values == (1.0,) * 20


def test_only_the_last_two_years_count():
    known = {START + timedelta(n): 1.0 for n in range(4000)}
    assert len(daily_series(known, START + timedelta(4000)).values) == 728


@pytest.mark.parametrize(
    "known",
    [{}, {START + timedelta(9): 3.0}, {START - timedelta(n): 0.0 for n in range(729)}],
    ids=["nothing", "today", "zeros"],
)
def test_without_any_cost_there_is_no_forecast_and_that_is_said(known):
    found = forecast(daily_series(known, START))
    assert (found.model, found.days, found.totals) == (None, (), ())
    assert found.note == "No day's cost is known yet."


def test_less_than_two_weeks_are_a_flat_mean_without_intervals():
    found = of([3.0] * 6 + [10.0])
    assert found.model == "flat_mean"
    assert {day.cost for day in found.days} == {4.0}
    assert {i for day in found.days for i in day.intervals} == {None}
    assert found.note.startswith("7 days are known: a flat mean, without intervals.")


def test_less_than_four_weeks_have_no_interval_and_say_so():
    found = of(weekly(27, 1))
    assert found.model == "weekday_mean"
    assert {i for t in found.totals for i in t.intervals} == {None}
    assert "too few to compare models" in found.note
    assert "No interval for 7d, 30d, 90d, month_end" in found.note


def test_each_total_has_an_interval_as_soon_as_enough_can_be_tried():
    found = totals(of(weekly(90, 1)))
    assert None not in found["30d"].intervals
    assert set(found["90d"].intervals) == {None}


def test_with_a_year_known_every_day_has_its_intervals():
    found = of(weekly(365, 1))
    assert len(found.days) == 90
    assert None not in {i for day in found.days for i in day.intervals}


def test_a_constant_series_goes_on_exactly():
    found = of([12.5] * 200)
    assert {day.cost for day in found.days} == {12.5}
    assert totals(found)["90d"].cost == pytest.approx(1125)
    assert totals(found)["30d"].intervals[1].low == pytest.approx(375)
    assert totals(found)["30d"].intervals[1].high == pytest.approx(375)


def test_closed_weekends_stay_closed():
    found = of([0.0 if n % 7 > 4 else 60.0 for n in range(140)])
    by_weekday = {day.day.weekday(): day.cost for day in found.days}
    assert by_weekday[5] == by_weekday[6] == 0
    assert by_weekday[0] == pytest.approx(60)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_model_continues_a_week_that_repeats(model):
    week = (10.0, 20.0, 30.0, 40.0, 50.0, 5.0, 0.0)
    assert model(week * 10) == pytest.approx(week)
    assert model((week * 10)[:-3]) == pytest.approx((*week[4:], *week[:4]))


def test_a_shift_of_the_level_is_followed_within_weeks():
    found = of([10.0] * 150 + [30.0] * 30)
    assert found.days[0].cost == pytest.approx(30, rel=0.1)


def test_missing_days_do_not_pull_the_forecast_down():
    values = weekly(200, 3)
    holed = [None if n % 9 == 4 else v for n, v in enumerate(values)]
    zeroed = [0.0 if n % 9 == 4 else v for n, v in enumerate(values)]
    true, gaps, zeros = (totals(of(v))["30d"].cost for v in (values, holed, zeroed))
    assert gaps == pytest.approx(true, rel=0.06)
    assert zeros < 0.95 * true


def test_a_pause_of_the_pipeline_is_no_drop_of_cost():
    found = of([20.0] * 60 + [None] * 10)
    assert found.days[0].cost == pytest.approx(20)


def test_baselines_are_what_their_names_say():
    values = [float(n) for n in range(35)]
    assert seasonal_naive(values) == tuple(float(n) for n in range(28, 35))
    assert weekday_mean(values) == tuple(n - 10.5 for n in range(28, 35))
    assert flat_mean(values) == (20.5,) * 7
    assert seasonal_naive([*values[:28], *[None] * 7]) == tuple(values[21:28])


def test_the_month_holds_what_was_spent_and_what_is_to_come():
    first = date(2026, 11, 1)
    found = of([2.0] * 212 + [10.0] * 9, start=first - timedelta(212))
    month = totals(found)["month_end"]
    assert found.made_on == date(2026, 11, 10)
    assert (month.first_day, month.last_day) == (date(2026, 11, 10), date(2026, 11, 30))
    assert month.spent == 90
    assert month.cost == pytest.approx(90 + sum(d.cost for d in found.days[:21]))
    assert month.intervals[1].low >= 90


def test_on_the_first_of_a_month_nothing_is_spent():
    month = totals(of([2.0] * 60, start=date(2026, 11, 1) - timedelta(60)))["month_end"]
    assert (month.spent, month.last_day) == (0, date(2026, 11, 30))
    assert month.cost == pytest.approx(60)


def test_days_of_this_month_that_are_missing_are_named():
    start = date(2026, 11, 10) - timedelta(60)
    assert "this month's" not in of([2.0] * 60, start).note
    found = of([2.0] * 55 + [None, None] + [2.0] * 3, start)
    assert "2 days are missing from this month's" in found.note


def test_a_baseline_that_erred_less_is_used_and_named():
    """Last week, repeated, is the truth here; nothing that averages can follow."""
    values, rate = [], 1.0
    for n in range(200):
        rate *= 1.5 if n % 35 == 0 else 1.0
        values.append(rate * (1 + n % 7))
    found = of(values)
    by_model = {s.model: s.score for s in found.scores}
    own, chosen = by_model["weekday_level"], by_model[found.model]
    assert found.model == "seasonal_naive"
    assert chosen.sum_error < own.sum_error
    assert chosen.mase < own.mase
    assert [s.model for s in found.scores if s.chosen] == [found.model]


def test_a_baseline_does_not_win_by_one_figure_alone():
    for kind in KINDS.values():
        for seed in range(4):
            found = of(kind(200, seed))
            own = next(s.score for s in found.scores if s.model == "weekday_level")
            if found.model != "weekday_level":
                assert found.score.sum_error < own.sum_error
                assert found.score.mase < own.mase


@pytest.mark.parametrize("later", [1e6, 200.0, 0.0])
def test_the_backtest_sees_nothing_of_the_future(later):
    values = weekly(200, 5)
    for trial in backtest(Past(values), weekday_level):
        changed = [*values[: trial.at], *[later] * (200 - trial.at)]
        again = next(
            t for t in backtest(Past(changed), weekday_level) if t.at == trial.at
        )
        assert (again.week, again.naive) == (trial.week, trial.naive)
        # But for the least that errors of the past are divided by.
        if later < 1000:
            assert again.scale == trial.scale


def test_scores_of_a_known_series():
    """Ten more each week: each model is behind by what it averages over."""
    values = [float(10 * (n // 7) + 100) for n in range(28 * 7)]
    found = score(backtest(Past(values), seasonal_naive))
    # A day is wrong by 10 in the first week ahead, 20 in the second, and so on.
    weeks = [10] * 7 + [20] * 7 + [30] * 7 + [40] * 7 + [50] * 2
    ends = [min(30, 196 - t.at) for t in backtest(Past(values), seasonal_naive)]
    wrong = [sum(weeks[:n]) / n for n in ends]
    assert found.mase == pytest.approx(sum(wrong) / (10 * len(wrong)))
    assert found.trials == len(ends)
    assert found.sum_days == 30


def test_our_model_errs_less_than_last_week_repeated():
    """By the day for every kind of series; by 30 days for all kinds together.

    Where costs grow, last week is closer than any mean: that is what a baseline is for.
    """
    sums = {weekday_level: 0.0, seasonal_naive: 0.0}
    for kind, make in KINDS.items():
        days = dict.fromkeys(sums, 0.0)
        for seed in range(6):
            values = make(365, seed)
            for model in sums:
                found = score(backtest(Past(values), model))
                days[model] += found.mase or 0.0
                sums[model] += found.sum_error or 0.0
        assert days[weekday_level] < days[seasonal_naive], kind
    assert sums[weekday_level] < 0.85 * sums[seasonal_naive]


def test_on_a_weekly_series_our_model_meets_the_bar():
    scores = [score(backtest(Past(weekly(365, s)), weekday_level)) for s in range(6)]
    assert max(s.mase or 0.0 for s in scores) <= 1.0
    assert sum(s.sum_error or 0.0 for s in scores) / 6 < 0.05


def test_intervals_hold_as_often_as_they_promise():
    """Realised, on costs of every kind; each interval is older than its outcome."""
    day50: list[float] = []
    day80: list[float] = []
    sum80: list[float] = []
    for kind in KINDS.values():
        for seed in range(5):
            found = score(backtest(Past(kind(365, seed)), weekday_level))
            day50.append(found.coverage[0] or 0.0)
            day80.append(found.coverage[1] or 0.0)
            sum80.append(found.sum_coverage[1] or 0.0)
    assert 0.45 <= sum(day50) / len(day50) <= 0.60
    assert 0.75 <= sum(day80) / len(day80) <= 0.88
    assert 0.70 <= sum(sum80) / len(sum80) <= 0.92


def test_the_interval_of_a_sum_is_not_the_sum_of_the_days_intervals():
    found = of(weekly(365, 2))
    month = totals(found)["30d"].intervals[1]
    summed = sum(d.intervals[1].high - d.intervals[1].low for d in found.days[:30])
    assert month.high - month.low < 0.5 * summed


@examples(40)
@given(st.lists(amounts, max_size=130))
def test_any_series_gives_a_forecast_that_is_finite_ordered_and_never_negative(values):
    found = of(values)
    for part in (*found.days, *found.totals):
        assert 0 <= part.cost < 1e16
        bounds = [i for i in part.intervals if i is not None]
        for interval in bounds:
            assert 0 <= interval.low <= part.cost * (1 + 1e-9) + 1e-9
            assert part.cost <= interval.high * (1 + 1e-9) + 1e-9
        if len(bounds) == 2:
            inner, outer = bounds
            assert outer.low <= inner.low <= inner.high <= outer.high
    assert [d.day for d in found.days] == [
        found.made_on + timedelta(n) for n in range(len(found.days))
    ]
    for t in found.totals:
        length = (t.last_day - t.first_day).days + 1
        days = sum(d.cost for d in found.days[:length])
        assert t.cost == pytest.approx(t.spent + days, rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(0, 1e6), min_size=7, max_size=7), st.integers(0, 200))
def test_the_total_of_a_repeated_week_is_the_sum_of_its_days(week, days):
    expected = sum((week * 30)[:days])
    assert total(tuple(week), days) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_scale_of_money_does_not_matter():
    cents, dollars = of(shifting(300, 1)), of([v * 1000 for v in shifting(300, 1)])
    assert dollars.model == cents.model
    assert dollars.days[5].cost == pytest.approx(1000 * cents.days[5].cost)
    small, large = (f.days[5].intervals[1].high for f in (cents, dollars))
    assert large == pytest.approx(1000 * small)


def test_too_few_trials_make_no_interval():
    for days in range(14, 60):
        found = of(weekly(days, 1))
        week = totals(found)["7d"]
        trials = backtest(Past(weekly(days, 1)), weekday_level)
        complete = sum(len(t.errors) >= 7 for t in trials)
        assert (week.intervals[1] is None) == (complete < MIN_CASES), days
