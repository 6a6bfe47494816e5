"""Intervals from the errors that a model has made, without supposing a distribution.

Split conformal prediction: of n past errors, the one of rank ceil((n + 1) * level) is
not exceeded by the next with that probability, if the next is like the past ones. Too
few errors have no such rank, and then there is no interval. Costs do change, so what
share of outcomes the intervals would have held in the past is measured beside them.
"""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, exp

LEVELS = (Fraction(1, 2), Fraction(4, 5))
"""50 % and 80 %: exact, for the rank is that of a whole number."""

# Overlapping errors are worth less than their number; below this they are worth nothing.
MIN_CASES = 8


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end, in US dollars."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Case:
    """What was forecast once, and what came of it.

    Attributes:
        made: Index of the day on which it was forecast.
        known: Index of the first day on which all of its outcomes were known.
        scale: Level of the series as it was forecast; errors are divided by it.
        forecasts: US dollars.
        errors: Outcome less forecast, of each.
    """

    made: int
    known: int
    scale: float
    forecasts: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far outcomes lie from forecasts, and whether that could be told beforehand.

    Attributes:
        cases: How many forecasts it was learnt from.
        radii: For each of LEVELS, the distance in units of scale; None for no interval.
        tested: How many outcomes met an interval that was made before them.
        covered: For each of LEVELS, how many of those lay inside.
        pinball: Sum of the loss of the 10 %, 50 % and 90 % quantiles, US dollars, over
            the tested outcomes.
    """

    cases: int
    radii: tuple[float | None, ...]
    tested: int
    covered: tuple[int, ...]
    pinball: float

    def interval(self, forecast: float, scale: float, level: int) -> Interval | None:
        """The interval of LEVELS[level]; a cost is never below zero."""
        radius = self.radii[level]
        if radius is None:
            return None
        reach = radius * scale
        return Interval(max(0.0, forecast - reach), forecast + reach)


def quantile(ordered: Sequence[float], level: Fraction) -> float | None:
    """The value of conformal rank, or None where there are too few values."""
    rank = ceil((len(ordered) + 1) * level)
    return ordered[rank - 1] if rank <= len(ordered) else None


def poisson(mean: float, share: float) -> int:
    """The count that is not exceeded with a probability of *share*."""
    count, chance = 0, exp(-mean)
    reached = chance
    while reached < share:
        count += 1
        chance *= mean / count
        reached += chance
    return count


def calibrate(cases: Sequence[Case]) -> Calibration:
    """Learn the radii, and test each case against what was known when it was made.

    Args:
        cases: In the order in which they were made, which is that of their outcomes.
    """
    pool: list[float] = []
    learnt = tested = 0
    covered = [0] * len(LEVELS)
    loss = 0.0
    for case in cases:
        while cases[learnt].known <= case.made:
            _learn(pool, cases[learnt])
            learnt += 1
        radii = _radii(pool, learnt)
        inner, outer = radii
        if inner is None or outer is None:
            continue
        tested += len(case.errors)
        for level, radius in enumerate((inner, outer)):
            reach = radius * case.scale + 1e-9
            covered[level] += sum(abs(error) <= reach for error in case.errors)
        loss += _pinball(case, outer * case.scale)
    for case in cases[learnt:]:
        _learn(pool, case)
    return Calibration(
        len(cases), _radii(pool, len(cases)), tested, tuple(covered), loss
    )


def _learn(pool: list[float], case: Case) -> None:
    for error in case.errors:
        insort(pool, abs(error) / case.scale)


def _radii(pool: Sequence[float], cases: int) -> tuple[float | None, float | None]:
    if cases < MIN_CASES:
        return (None, None)
    inner, outer = (quantile(pool, level) for level in LEVELS)
    return (inner, outer)


def _pinball(case: Case, reach: float) -> float:
    loss = 0.0
    for forecast, error in zip(case.forecasts, case.errors, strict=True):
        outcome = forecast + error
        loss += 0.5 * abs(error)
        for share, bound in (
            (0.1, max(0.0, forecast - reach)),
            (0.9, forecast + reach),
        ):
            miss = outcome - bound
            loss += share * miss if miss > 0 else (share - 1) * miss
    return loss
