"""What is checked of forecasts that were just made."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from apex_pipeline.analytics.forecast import LEVELS, Score
from apex_pipeline.analytics.forecast.cost_forecast import Training
from apex_pipeline.analytics.rollups.rollup_checks import Finding

LEARNT_UP_TO_YESTERDAY = "learnt_up_to_yesterday"
COVERAGE_IN_BAND = "coverage_in_band"
FORECAST_CHECKS = (LEARNT_UP_TO_YESTERDAY, COVERAGE_IN_BAND)

BAND_POINTS = 15
"""How far realised coverage may be from what was promised, in percentage points."""

JUDGED_DAYS = 500
"""Fewer tested days stem from a handful of weeks: their coverage says next to nothing."""

# Errors below a thousandth of the cost are those of a series that repeats itself, whose
# intervals are as narrow as they can be and hold everything.
_NEGLIGIBLE = 0.001


def check(trainings: Iterable[Training]) -> list[Finding]:
    """Run the checks."""
    trainings = list(trainings)
    late = [words for training in trainings for words in _late(training)]
    outside = [words for training in trainings for words in _outside(training)]
    return [
        Finding(LEARNT_UP_TO_YESTERDAY, len(late), tuple(late)),
        Finding(COVERAGE_IN_BAND, len(outside), tuple(outside)),
    ]


def _late(training: Training) -> Iterator[str]:
    series = training.forecast.series
    missing = 0
    for value in reversed(series.values):
        if value is not None:
            break
        missing += 1
    if not series.known:
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
