"""What is said against a forecast that was just made."""

from dataclasses import replace
from datetime import date

import pytest

from apex_pipeline.analytics.forecast import DailySeries, Interval, forecast
from apex_pipeline.analytics.forecast.cost_forecast import DayOutcome, Training
from apex_pipeline.analytics.forecast.forecast_checks import (
    COVERAGE_IN_BAND,
    FORECAST_CHECKS,
    JUDGED_DAYS,
    LEARNT_UP_TO_YESTERDAY,
    WITHIN_REASON,
    YESTERDAY_AS_FORECAST,
    check,
)
from apex_pipeline_tests.support.cost_series import weekly

START = date(2026, 1, 5)


def training(values, zone="UTC"):
    return Training(zone, forecast(DailySeries(START, tuple(values))), "")


def found(*trainings):
    return {finding.check: finding for finding in check(trainings)}


def with_score(**changes):
    """A training of which the backtest says something else."""
    made = training(weekly(365, 1))
    scores = tuple(
        replace(s, score=replace(s.score, **changes)) for s in made.forecast.scores
    )
    return replace(made, forecast=replace(made.forecast, scores=scores))


def test_nothing_is_said_against_a_good_forecast():
    findings = found(training(weekly(365, 1)))
    assert tuple(findings) == FORECAST_CHECKS
    assert all(finding.passed for finding in findings.values())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0] * 30 + [None], "nothing is known after 2026-02-03"),
        ([1.0] * 30 + [None] * 5, "nothing is known after 2026-02-03"),
        ([], "no day's cost is known"),
        ([None] * 3, "no day's cost is known"),
    ],
)
def test_a_forecast_that_does_not_know_yesterday_is_named(values, words):
    finding = found(training([1.0] * 20), training(values, "Asia/Tokyo"))[
        LEARNT_UP_TO_YESTERDAY
    ]
    assert (finding.wrong, finding.examples) == (1, (f"Asia/Tokyo: {words}",))


def test_days_on_which_nothing_ran_are_known():
    assert found(training([0.0] * 40))[LEARNT_UP_TO_YESTERDAY].passed


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ((0.34, 0.80), "the 50 % interval held 34 % of"),
        ((0.50, 0.64), "the 80 % interval held 64 % of"),
        ((0.66, 0.80), "the 50 % interval held 66 % of"),
        ((0.50, 0.96), "the 80 % interval held 96 % of"),
    ],
)
def test_intervals_that_hold_too_seldom_or_too_often_are_named(coverage, words):
    finding = found(with_score(coverage=coverage))[COVERAGE_IN_BAND]
    assert finding.wrong == 1
    assert words in finding.examples[0]


@pytest.mark.parametrize("coverage", [(0.36, 0.66), (0.64, 0.94)])
def test_coverage_near_what_was_promised_passes(coverage):
    assert found(with_score(coverage=coverage))[COVERAGE_IN_BAND].passed


def test_too_few_days_are_not_judged():
    few = with_score(coverage=(0.0, 0.0), tested=JUDGED_DAYS - 1)
    assert found(few)[COVERAGE_IN_BAND].passed
    enough = with_score(coverage=(0.0, 0.0), tested=JUDGED_DAYS)
    assert found(enough)[COVERAGE_IN_BAND].wrong == 2


def test_a_series_that_repeats_itself_is_held_by_no_width_at_all():
    assert found(training([12.5] * 365))[COVERAGE_IN_BAND].passed


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("days", {"cost": 2000.0}),
        ("days", {"intervals": (None, Interval(10.0, 2000.0))}),
        ("days", {"cost": float("nan")}),
        ("totals", {"cost": 2000.0 * 7}),
        ("totals", {"intervals": (None, Interval(10.0, 2e11))}),
    ],
)
def test_a_sum_or_a_band_that_no_cost_bears_out_is_named(part, changes):
    """The dearest of these days cost about 150."""
    made = training(weekly(365, 1))
    first, *others = getattr(made.forecast, part)
    wrong = replace(
        made,
        forecast=replace(made.forecast, **{part: (replace(first, **changes), *others)}),
    )
    finding = found(wrong)[WITHIN_REASON]
    assert finding.wrong == 1
    assert "no day ever cost more than 1" in finding.examples[0]


@pytest.mark.parametrize(
    ("actual", "wrong"), [(79.9, 1), (80.0, 0), (120.0, 0), (120.1, 1)]
)
def test_a_yesterday_that_was_not_forecast_is_named_with_both_figures(actual, wrong):
    yesterday = DayOutcome(date(2026, 3, 1), actual, 100.0, 80.0, 120.0)
    finding = found(replace(training(weekly(60, 1)), yesterday=yesterday))[
        YESTERDAY_AS_FORECAST
    ]
    assert finding.wrong == wrong
    if wrong:
        assert (
            f"2026-03-01 cost {actual:,.2f} US dollars; 100.00 was forecast"
            in (finding.examples[0])
        )


def test_a_yesterday_without_an_interval_says_nothing():
    yesterday = DayOutcome(date(2026, 3, 1), 9e9, 100.0, None, None)
    made = replace(training(weekly(60, 1)), yesterday=yesterday)
    assert found(made)[YESTERDAY_AS_FORECAST].passed
