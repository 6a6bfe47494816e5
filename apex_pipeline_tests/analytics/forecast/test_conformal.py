"""Intervals out of past errors."""

import random
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.forecast.intervals import (
    MIN_CASES,
    Calibration,
    Case,
    Interval,
    calibrate,
    quantile,
)

EIGHTY = Fraction(4, 5)


def cases(errors, delay=1):
    return [Case(n, n + delay, 1.0, (100.0,), (e,)) for n, e in enumerate(errors)]


@pytest.mark.parametrize(
    ("count", "rank"), [(3, None), (4, 4), (9, 8), (10, 9), (14, 12), (99, 80)]
)
def test_the_quantile_has_the_rank_that_a_finite_sample_needs(count, rank):
    assert quantile(range(1, count + 1), EIGHTY) == rank


@given(st.integers(1, 300), st.sampled_from([Fraction(1, 2), EIGHTY]))
def test_one_more_value_falls_within_as_often_as_promised(count, level):
    """Of count + 1 exchangeable values, each is equally likely to be the next."""
    bound = quantile(range(1, count + 1), level)
    if bound is None:
        assert count / (count + 1) < level
    else:
        assert level <= Fraction(int(bound), count + 1) < level + Fraction(1, count + 1)


def test_below_eight_cases_there_is_no_interval():
    assert calibrate(cases([1.0] * (MIN_CASES - 1))).radii == (None, None)
    assert calibrate(cases([1.0] * MIN_CASES)).radii == (1.0, 1.0)


def test_an_interval_is_tested_on_outcomes_that_came_after_it_was_made():
    # Each outcome is known five days later, so the first with eight known is the 13th.
    found = calibrate(cases([1.0] * 12 + [0.5, 2.0], delay=5))
    assert (found.tested, found.covered) == (2, (1, 1))


def test_errors_are_taken_relative_to_the_level_they_were_made_at():
    small = [Case(n, n + 1, 10.0, (10.0,), (1.0,)) for n in range(10)]
    found = calibrate(small)
    assert found.interval(1000.0, 1000.0, 1) == Interval(900, 1100)


def test_a_cost_is_never_below_zero():
    known = Calibration(9, (2.0, 3.0), 0, (0, 0), 0.0)
    assert known.interval(10.0, 10.0, 1) == Interval(0, 40)


def test_coverage_of_even_noise_is_what_was_promised():
    rng = random.Random(4)
    found = calibrate(cases([rng.gauss(0, 1) for _ in range(4000)]))
    assert found.covered[0] / found.tested == pytest.approx(0.5, abs=0.03)
    assert found.covered[1] / found.tested == pytest.approx(0.8, abs=0.03)


def test_pinball_loss_by_hand():
    # Radii are 1: bounds 99 and 101. Outcome 104: 0.5*4 + 0.1*5 + 0.9*3; outcome 100:
    # 0 + 0.1*1 + 0.1*1.
    found = calibrate(cases([1.0] * 8 + [4.0]))
    assert found.pinball == pytest.approx(2 + 0.5 + 2.7)
    found = calibrate(cases([1.0] * 8 + [0.0]))
    assert found.pinball == pytest.approx(0.2)
