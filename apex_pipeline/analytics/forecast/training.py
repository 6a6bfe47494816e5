"""From days that were to days to come, by the model that has erred least."""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from apex_pipeline.analytics.forecast import explanation_text, models
from apex_pipeline.analytics.forecast.backtest import (
    BLOCK,
    BLOCKS,
    HORIZON,
    Score,
    Trial,
    backtest,
    day_cases,
    level,
    score,
    total,
    total_cases,
)
from apex_pipeline.analytics.forecast.daily_series import DailySeries
from apex_pipeline.analytics.forecast.intervals import LEVELS, Interval, calibrate
from apex_pipeline.analytics.forecast.models import MIN_DAYS, Model

OWN_MODEL = "weekday_level"
SHORT_MODEL = "weekday_mean"
FLAT_MODEL = "flat_mean"
MODELS: Mapping[str, Model] = {
    OWN_MODEL: models.weekday_level,
    SHORT_MODEL: models.weekday_mean,
    "seasonal_naive": models.seasonal_naive,
}

Intervals = tuple[Interval | None, ...]
"""One for each of `LEVELS`; None where too few errors are known to say."""


@dataclass(frozen=True, slots=True)
class ForecastDay:
    """A day to come."""

    day: date
    cost: float
    intervals: Intervals


@dataclass(frozen=True, slots=True)
class ForecastTotal:
    """A sum over days to come.

    Attributes:
        horizon: `7d`, `30d`, `90d` or `month_end`.
        spent: What the days before the first had cost already, that the sum includes;
            above zero for `month_end` alone.
        cost: The whole sum.
    """

    horizon: str
    first_day: date
    last_day: date
    spent: float
    cost: float
    intervals: Intervals


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How a model did in the backtest, and whether it was the one to be used."""

    model: str
    chosen: bool
    score: Score


@dataclass(frozen=True, slots=True)
class Forecast:
    """A training.

    Attributes:
        made_on: The first day that is forecast: the one that was not over.
        series: What it was learnt from.
        model: Whose forecast it is; None where nothing is known.
        reason: Why that model, in a sentence or two.
        note: What limits it, in a sentence or two; empty where nothing does.
    """

    made_on: date
    series: DailySeries
    model: str | None
    reason: str
    note: str
    days: tuple[ForecastDay, ...]
    totals: tuple[ForecastTotal, ...]
    scores: tuple[ModelScore, ...]

    @property
    def score(self) -> Score | None:
        """The score of the model that is used, where models could be compared."""
        return next((s.score for s in self.scores if s.chosen), None)


def forecast(series: DailySeries) -> Forecast:
    """Forecast the 90 days that follow a series, and four totals.

    Every model is tried on the past. A baseline is used if it erred less than our own
    model both in totals of 30 days (of 7 in a short series) and by the day: to go by one
    figure alone would be to follow luck, which in made-up series costs accuracy.
    """
    made_on, known = series.end, series.known
    if not known:
        why = explanation_text.TOO_FEW_TO_COMPARE
        return Forecast(
            made_on, series, None, why, explanation_text.NOTHING_KNOWN, (), (), ()
        )
    if known < MIN_DAYS:
        week = models.flat_mean(series.values)
        days, totals = _outlook(series, week, [])
        why, note = (
            explanation_text.TOO_FEW_TO_COMPARE,
            explanation_text.short_note(known),
        )
        return Forecast(made_on, series, FLAT_MODEL, why, note, days, totals, ())
    tried = {name: backtest(series.values, model) for name, model in MODELS.items()}
    scores = {name: score(trials) for name, trials in tried.items()}
    best = _best(scores)
    days, totals = _outlook(series, MODELS[best](series.values), tried[best])
    bare = [total.horizon for total in totals if total.intervals[-1] is None]
    return Forecast(
        made_on,
        series,
        best,
        explanation_text.reason(scores, OWN_MODEL, best),
        explanation_text.note(series, bare, scores[best]),
        days,
        totals,
        tuple(ModelScore(name, name == best, s) for name, s in scores.items()),
    )


def _best(scores: Mapping[str, Score]) -> str:
    own = scores[OWN_MODEL]
    if own.sum_error is None:
        return SHORT_MODEL
    better = {
        name: s.sum_error
        for name, s in scores.items()
        if s.sum_error is not None
        and s.sum_error < own.sum_error
        and (s.mase or 0.0) < (own.mase or 0.0)
    }
    return min(better, key=better.__getitem__, default=OWN_MODEL)


def _outlook(
    series: DailySeries, week: models.Week, trials: list[Trial]
) -> tuple[tuple[ForecastDay, ...], tuple[ForecastTotal, ...]]:
    scale = level(series.values, week)
    blocks = [calibrate(day_cases(trials, block)) for block in range(BLOCKS)]
    days = tuple(
        ForecastDay(
            series.end + timedelta(days=ahead),
            week[ahead % 7],
            tuple(
                blocks[ahead // BLOCK].interval(week[ahead % 7], scale, index)
                for index in range(len(LEVELS))
            ),
        )
        for ahead in range(HORIZON)
    )
    totals = []
    for horizon, length, spent in _horizons(series):
        known = calibrate(total_cases(trials, length))
        cost = total(week, length)
        found = (known.interval(cost, scale, index) for index in range(len(LEVELS)))
        totals.append(
            ForecastTotal(
                horizon,
                series.end,
                series.end + timedelta(days=length - 1),
                spent,
                spent + cost,
                tuple(i and Interval(i.low + spent, i.high + spent) for i in found),
            )
        )
    return days, tuple(totals)


def _horizons(series: DailySeries) -> list[tuple[str, int, float]]:
    """Name, days to come, and US dollars that were spent before them."""
    made_on = series.end
    left = monthrange(made_on.year, made_on.month)[1] - made_on.day + 1
    over = made_on.day - 1
    this_month = series.values[-over:] if over else ()
    spent = sum(value for value in this_month if value is not None)
    fixed = [(f"{days}d", days, 0.0) for days in (7, 30, HORIZON)]
    return [*fixed, ("month_end", left, spent)]
