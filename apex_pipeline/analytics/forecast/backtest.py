"""Forecasts as they would have been made in the past, against what came of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from apex_pipeline.analytics.forecast.intervals import (
    LEVELS,
    MIN_CASES,
    Case,
    calibrate,
)
from apex_pipeline.analytics.forecast.known_past import LONG_PAUSE_DAYS, Learnt, Past
from apex_pipeline.analytics.forecast.models import (
    LEVEL_DAYS,
    MIN_DAYS,
    Model,
    Values,
    Week,
)

HORIZON = 90
"""Days ahead."""

BLOCK = 7
"""Days ahead whose errors are pooled: those of one alone would be too few."""

BLOCKS = -(-HORIZON // BLOCK)
"""The last reaches one day beyond the horizon."""

# The number that a cost owner reads is the month's; in a short series, the week's.
_TOTALS = (30, 7)
_MAX_ORIGINS = 52
_LONG_DAYS = 182
_RECENT_DAYS = 56
# A total is compared where at most one day in seven of it is missing.
_KNOWN_SHARE = 6 / 7


@dataclass(frozen=True, slots=True)
class PastForecast:
    """One forecast of the past.

    Attributes:
        at: Index of the day on which it was made, which is its first.
        week: The forecast.
        scale: Level of the series then; above zero.
        errors: Outcome less forecast of the days ahead, None where it is not known.
        naive: What forecasting each day by the one seven days before it had been
            wrong by until then, US dollars a day.
    """

    at: int
    week: Week
    scale: float
    errors: tuple[float | None, ...]
    naive: float


@dataclass(frozen=True, slots=True)
class Score:
    """How a model did in the past.

    Attributes:
        trials: Number of repeated forecasts.
        mase: Mean absolute error of a day up to 30 days ahead, in units of the error
            of the day a week before within the days read; None where that is zero.
        sum_days: Length of the totals that were compared: 30 days, or 7.
        sum_error: Sum of their absolute errors over the sum of the outcomes; None
            where they are too few.
        pinball: Mean loss of the 10 %, 50 % and 90 % quantiles of a day, US dollars.
        tested: Days that met an interval made before them.
        coverage: Share of those inside the 50 % and the 80 % interval.
        sums_tested: Totals that met an interval made before them.
        sum_coverage: The same share, of those.
    """

    trials: int
    mase: float | None
    sum_days: int | None
    sum_error: float | None
    pinball: float | None
    tested: int
    coverage: tuple[float | None, ...]
    sums_tested: int
    sum_coverage: tuple[float | None, ...]


def origins(days: int) -> range:
    """The days from which the forecast is repeated.

    Each seventh of the last year, so their weekday is today's; in a short series
    each third.
    """
    step = BLOCK if days >= _LONG_DAYS else 3
    first = max(MIN_DAYS, days - step * _MAX_ORIGINS)
    return range(first + (days - first) % step, days, step)


def level(values: Values, week: Week) -> float:
    """What a day costs about now, by the forecast and by the last eight weeks.

    Where those cost next to nothing, a quarter of what half a year did.
    """
    known = [value for value in values[-LEVEL_DAYS:] if value is not None]
    recent = known[-_RECENT_DAYS:]
    if not recent:
        return sum(week) / 7
    now = (sum(recent) / len(recent) + sum(week) / 7) / 2
    return max(now, sum(known) / len(known) / 4)


def outlook(model: Model, learnt: Learnt) -> tuple[Week, float]:
    """A model's week, and the level by which its errors are measured.

    Days of another order add to the week what they do on average. They are no part of
    the level: two of them would make each error of the past look small.
    """
    week = model(learnt.values)
    return tuple(cost + learnt.extra for cost in week), level(learnt.values, week)


def backtest(past: Past, model: Model) -> list[PastForecast]:
    """Make every forecast again from what was known before it; the oldest first.

    Outcomes are those of days like which there may be others: an outlier is none of
    them, nor is a long pause.
    """
    known = past.before(len(past.values))
    outcomes = list(past.values)
    for outlier in known.outliers:
        outcomes[outlier.at] = None
    for pause in known.left_out:
        if pause.days >= LONG_PAUSE_DAYS:
            outcomes[pause.first : pause.last + 1] = [None] * pause.days
    # Errors of a time that cost next to nothing say little: they count for at most ten
    # times what they were.
    least = outlook(model, known)[1] / 10
    naive = list(_naive_errors(outcomes))
    trials = []
    for at in origins(len(outcomes)):
        learnt = past.before(at)
        week, now = outlook(model, learnt)
        errors = tuple(
            None if value is None else value - week[ahead % 7]
            for ahead, value in enumerate(outcomes[at : at + BLOCKS * BLOCK])
        )
        scale = max(now, least) or 1.0
        trials.append(PastForecast(at, week, scale, errors, naive[at]))
    return trials


def _naive_errors(values: Values) -> Iterator[float]:
    """Mean absolute difference to the day a week before, up to each day."""
    total, count = 0.0, 0
    for index, value in enumerate(values):
        yield total / count if count else 0.0
        before = values[index - 7] if index >= 7 else None
        if value is not None and before is not None:
            total += abs(value - before)
            count += 1


def day_cases(trials: Sequence[PastForecast], block: int) -> list[Case]:
    """Days of one week ahead: block 0 is the first."""
    cases = []
    for trial in trials:
        first = block * BLOCK
        if len(trial.errors) < first + BLOCK:
            break
        pairs = zip(trial.week, islice(trial.errors, first, None), strict=False)
        known = [(week, error) for week, error in pairs if error is not None]
        forecasts, errors = zip(*known, strict=True) if known else ((), ())
        ready = trial.at + first + BLOCK
        cases.append(Case(trial.at, ready, trial.scale, forecasts, errors))
    return cases


def total_cases(trials: Sequence[PastForecast], days: int) -> list[Case]:
    """Totals of the days ahead. Missing days are taken to err as the others do."""
    cases = []
    for trial in trials:
        if len(trial.errors) < days:
            break
        errors = [e for e in islice(trial.errors, days) if e is not None]
        if len(errors) >= days * _KNOWN_SHARE:
            error = sum(errors) * days / len(errors)
            forecast = total(trial.week, days)
            made = trial.at, trial.at + days, trial.scale
            cases.append(Case(*made, (forecast,), (error,)))
    return cases


def total(week: Week, days: int) -> float:
    """Sum of the first *days* of a week that repeats."""
    weeks, rest = divmod(days, 7)
    return weeks * sum(week) + sum(week[:rest])


def score(trials: Sequence[PastForecast]) -> Score:
    """Sum up how a model did."""
    tested, loss, covered = 0, 0.0, [0] * len(LEVELS)
    for block in range(HORIZON // BLOCK):
        known = calibrate(day_cases(trials, block))
        tested += known.tested
        loss += known.pinball
        covered = [a + b for a, b in zip(covered, known.covered, strict=True)]
    sums = {days: total_cases(trials, days) for days in _TOTALS}
    days = next((d for d in _TOTALS if len(sums[d]) >= MIN_CASES), None)
    totals = calibrate(sums[days] if days else [])
    return Score(
        trials=len(trials),
        mase=_mase(trials),
        sum_days=days,
        sum_error=_sum_error(sums[days]) if days else None,
        pinball=loss / tested / 3 if tested else None,
        tested=tested,
        coverage=_shares(covered, tested),
        sums_tested=totals.tested,
        sum_coverage=_shares(totals.covered, totals.tested),
    )


def _mase(trials: Sequence[PastForecast]) -> float | None:
    wrong = naive = 0.0
    for trial in trials:
        errors = [abs(e) for e in islice(trial.errors, _TOTALS[0]) if e is not None]
        if errors:
            wrong += sum(errors) / len(errors)
            naive += trial.naive
    return wrong / naive if naive else None


def _sum_error(cases: Sequence[Case]) -> float:
    wrong = sum(abs(error) for case in cases for error in case.errors)
    outcome = sum(case.forecasts[0] + case.errors[0] for case in cases)
    return wrong / outcome if outcome > 0 else float(wrong > 0)


def _shares(covered: Sequence[int], tested: int) -> tuple[float | None, ...]:
    return tuple(count / tested if tested else None for count in covered)
