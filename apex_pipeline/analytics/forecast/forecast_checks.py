"""What is checked of forecasts that were just made."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from apex_pipeline.analytics.forecast import (
    LEVELS,
    MOST_TIMES,
    ForecastDay,
    ForecastTotal,
    Score,
)
from apex_pipeline.analytics.forecast.cost_forecast import Training
from apex_pipeline.analytics.rollups.rollup_checks import RollupMismatch

LEARNT_UP_TO_YESTERDAY = "learnt_up_to_yesterday"
COVERAGE_IN_BAND = "coverage_in_band"
WITHIN_REASON = "within_reason"
YESTERDAY_AS_FORECAST = "yesterday_as_forecast"
FORECAST_CHECKS = (
    LEARNT_UP_TO_YESTERDAY,
    COVERAGE_IN_BAND,
    WITHIN_REASON,
    YESTERDAY_AS_FORECAST,
)

BAND_POINTS = 15
"""How far realised coverage may be from what was promised, in percentage points."""

JUDGED_DAYS = 500
"""Fewer tested days stem from a handful of weeks: their coverage says next to nothing."""

# Errors below a thousandth of the cost are those of a series that repeats itself, whose
# intervals are as narrow as they can be and hold everything.
_NEGLIGIBLE = 0.001


def check(trainings: Iterable[Training]) -> list[RollupMismatch]:
    trainings = list(trainings)
    looks = (_late, _outside, _beyond_reason, _surprise)
    found = []
    for name, look in zip(FORECAST_CHECKS, looks, strict=True):
        words = tuple(words for training in trainings for words in look(training))
        found.append(RollupMismatch(name, len(words), words))
    return found


def _late(training: Training) -> Iterator[str]:
    series = training.forecast.series
    missing = 0
    for value in reversed(series.values):
        if value is not None:
            break
        missing += 1
    # Days on which nothing ran are known, though no forecast can be made of them.
    if missing == len(series.values):
        yield f"{training.time_zone}: no day's cost is known"
    elif missing:
        last = series.end - timedelta(days=missing + 1)
        yield f"{training.time_zone}: nothing is known after {last}"


def _outside(training: Training) -> Iterator[str]:
    score = training.forecast.score
    if score is None or score.tested < JUDGED_DAYS:
        return
    for level, covered in zip(LEVELS, score.coverage, strict=True):
        beyond = 100 * ((covered or 0.0) - float(level))
        too_wide = beyond > BAND_POINTS and _errs(training, score)
        if beyond < -BAND_POINTS or too_wide:
            yield (
                f"{training.time_zone}: the {100 * level} % interval held "
                f"{100 * (covered or 0.0):.0f} % of {score.tested} days"
            )


def _errs(training: Training, score: Score) -> bool:
    days = training.forecast.days
    usual = sum(day.cost for day in days) / len(days)
    return (score.pinball or 0.0) > _NEGLIGIBLE * usual


def _beyond_reason(training: Training) -> Iterator[str]:
    """Sums and bands against the dearest day that there was, times their days."""
    made = training.forecast
    dearest = max((value or 0.0 for value in made.series.values), default=0.0)
    parts: list[tuple[str, int, float, ForecastDay | ForecastTotal]] = [
        (str(day.day), 1, 0.0, day) for day in made.days
    ]
    parts += [
        (total.horizon, (total.last_day - total.first_day).days + 1, total.spent, total)
        for total in made.totals
    ]
    for name, days, spent, part in parts:
        most = spent + MOST_TIMES * dearest * days
        highest = max((i.high for i in part.intervals if i), default=part.cost)
        if not max(part.cost, highest) <= most * (1 + _NEGLIGIBLE):
            yield (
                f"{training.time_zone}: {name} is {part.cost:,.2f} US dollars and up to "
                f"{highest:,.2f}; no day ever cost more than {dearest:,.2f}"
            )


def _surprise(training: Training) -> Iterator[str]:
    day = training.yesterday
    if day is None or day.low_80 is None or day.high_80 is None:
        return
    if not day.low_80 <= day.actual <= day.high_80:
        yield (
            f"{training.time_zone}: {day.day} cost {day.actual:,.2f} US dollars; "
            f"{day.cost:,.2f} was forecast, {day.low_80:,.2f} to {day.high_80:,.2f} "
            "with 80 %"
        )
