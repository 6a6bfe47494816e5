"""From days that were to days to come, by the model that has erred least."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from apex_pipeline.analytics.forecast import explanation_text, models
from apex_pipeline.analytics.forecast.backtest import (
    BLOCK,
    BLOCKS,
    HORIZON,
    PastForecast,
    Score,
    backtest,
    day_cases,
    outlook,
    score,
    total,
    total_cases,
)
from apex_pipeline.analytics.forecast.daily_series import DailySeries
from apex_pipeline.analytics.forecast.intervals import (
    LEVELS,
    Calibration,
    Interval,
    calibrate,
    poisson,
)
from apex_pipeline.analytics.forecast.known_past import Learnt, Past
from apex_pipeline.analytics.forecast.models import MIN_DAYS, Model

OWN_MODEL = "weekday_level"
SHORT_MODEL = "weekday_mean"
FLAT_MODEL = "flat_mean"
PAUSED = "paused"
MODELS: Mapping[str, Model] = {
    OWN_MODEL: models.weekday_level,
    SHORT_MODEL: models.weekday_mean,
    "seasonal_naive": models.seasonal_naive,
}

MOST_TIMES = 10
"""No day, sum or interval reaches beyond so many times the most that ever happened."""

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
        series: What it was learnt from: what came before a regime that is over is not.
        model: Whose forecast it is; `paused` for nothing at all, after a pause of weeks
            that goes on; None where no cost is known.
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
    if not any(series.values):
        return _bare(series, None, explanation_text.NOTHING_KNOWN)
    regime = series.since(Past(series.values, series.free_indices()).regime())
    past = Past(regime.values, regime.free_indices())
    learnt = past.before(len(past.values))
    notes = explanation_text.past_notes(series, regime, learnt)
    if learnt.is_over:
        days, totals = _outlook(series, learnt, _nothing, [])
        return _bare(regime, PAUSED, " ".join(notes), days, totals)
    if regime.known < MIN_DAYS:
        days, totals = _outlook(series, learnt, models.flat_mean, [])
        note = " ".join((explanation_text.short_note(regime.known), *notes))
        return _bare(regime, FLAT_MODEL, note, days, totals)
    tried = {name: backtest(past, model) for name, model in MODELS.items()}
    scores = {name: score(trials) for name, trials in tried.items()}
    best = _best(scores)
    days, totals = _outlook(series, learnt, MODELS[best], tried[best])
    bare = [total.horizon for total in totals if total.intervals[-1] is None]
    notes += explanation_text.notes(
        series, regime, bare, scores[best], paused=bool(learnt.resting)
    )
    return Forecast(
        series.end,
        regime,
        best,
        explanation_text.reason(scores, OWN_MODEL, best),
        " ".join(notes),
        days,
        totals,
        tuple(ModelScore(name, name == best, s) for name, s in scores.items()),
    )


def _nothing(_: models.Values) -> models.Week:
    return (0.0,) * 7


def _bare(
    series: DailySeries,
    model: str | None,
    note: str,
    days: tuple[ForecastDay, ...] = (),
    totals: tuple[ForecastTotal, ...] = (),
) -> Forecast:
    """A forecast for which no models could be compared."""
    why = explanation_text.TOO_FEW_TO_COMPARE
    return Forecast(series.end, series, model, why, note, days, totals, ())


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
    series: DailySeries, learnt: Learnt, model: Model, trials: list[PastForecast]
) -> tuple[tuple[ForecastDay, ...], tuple[ForecastTotal, ...]]:
    week, scale = outlook(model, learnt)
    # What follows a pause that goes on cannot be learnt from days before it.
    tried = [] if learnt.resting else trials
    blocks = [calibrate(day_cases(tried, block)) for block in range(BLOCKS)]
    most = series.most(1) * MOST_TIMES
    week = tuple(min(cost, most) for cost in week)
    days = tuple(
        ForecastDay(
            series.end + timedelta(days=ahead),
            week[ahead % 7],
            _intervals(blocks[ahead // BLOCK], week[ahead % 7], scale, most),
        )
        for ahead in range(HORIZON)
    )
    totals = []
    for horizon, length, spent in _horizons(series):
        known = calibrate(total_cases(tried, length))
        cost = total(week, length)
        most = max(cost, series.most(length) * MOST_TIMES)
        found = _intervals(known, cost, scale, most)
        totals.append(
            ForecastTotal(
                horizon,
                series.end,
                series.end + timedelta(days=length - 1),
                spent,
                spent + cost,
                tuple(
                    within and Interval(within.low + spent, within.high + spent)
                    for within in _with_chance(found, learnt, length, most)
                ),
            )
        )
    return days, tuple(totals)


def _intervals(
    known: Calibration, cost: float, scale: float, most: float
) -> tuple[Interval | None, ...]:
    found = (known.interval(cost, scale, index) for index in range(len(LEVELS)))
    return tuple(i and Interval(i.low, min(i.high, most)) for i in found)


def _with_chance(
    found: Sequence[Interval | None], learnt: Learnt, days: int, most: float
) -> tuple[Interval | None, ...]:
    """Intervals of a total, widened by how many repeated outliers may be in it.

    They are too few for a backtest to know of: their number is taken to be Poisson's.
    """
    chance, expected = learnt.often * days, learnt.repeats * days

    def widened(interval: Interval, level: float) -> Interval:
        few, many = (poisson(chance, (1 + sign * level) / 2) for sign in (-1, 1))
        low = interval.low - max(0.0, expected - few) * learnt.each
        high = interval.high + max(0.0, many - expected) * learnt.each
        return Interval(max(0.0, low), min(high, most))

    return tuple(
        interval and widened(interval, float(level))
        for level, interval in zip(LEVELS, found, strict=True)
    )


def _horizons(series: DailySeries) -> list[tuple[str, int, float]]:
    """Name, days to come, and US dollars that were spent before them."""
    made_on = series.end
    left = monthrange(made_on.year, made_on.month)[1] - made_on.day + 1
    over = made_on.day - 1
    this_month = series.values[-over:] if over else ()
    spent = sum(value for value in this_month if value is not None)
    fixed = [(f"{days}d", days, 0.0) for days in (7, 30, HORIZON)]
    return [*fixed, ("month_end", left, spent)]
