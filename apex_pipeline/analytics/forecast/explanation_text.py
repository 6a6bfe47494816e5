"""What is said of a forecast: why this model, and what limits it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from statistics import median

from apex_pipeline.analytics.forecast.backtest import Score
from apex_pipeline.analytics.forecast.daily_series import DailySeries
from apex_pipeline.analytics.forecast.intervals import MIN_CASES
from apex_pipeline.analytics.forecast.known_past import CostPause, Learnt
from apex_pipeline.analytics.forecast.models import MIN_DAYS

NOTHING_KNOWN = "No day's cost is known yet."
TOO_FEW_TO_COMPARE = "Too few days are known to compare models."

_SHOWN = 3


def reason(scores: Mapping[str, Score], own: str, used: str) -> str:
    """Why one model is used, with the figures of all."""
    if scores[own].sum_error is None:
        return TOO_FEW_TO_COMPARE
    why = (
        f"No baseline erred less than {own} both in sums and by the day."
        if used == own
        else f"{used} erred less than {own} both in sums and by the day."
    )
    figures = "; ".join(_figures(name, score) for name, score in scores.items())
    return f"{why} {figures}."


def _figures(name: str, score: Score) -> str:
    sums = "not known" if score.sum_error is None else f"{100 * score.sum_error:.1f} %"
    days = "not known" if score.mase is None else f"{score.mase:.2f}"
    return f"{name}: sums of {score.sum_days} days {sums}, MASE {days}"


def short_note(known: int) -> str:
    """Of a series that shows no weekdays."""
    return (
        f"{_days(known)} known: a flat mean, without intervals. Weekdays need "
        f"{MIN_DAYS} days."
    )


def notes(
    series: DailySeries,
    regime: DailySeries,
    bare: Iterable[str],
    used: Score,
    *,
    paused: bool,
) -> list[str]:
    """Of a series that models were tried on.

    Args:
        series: What is known.
        regime: What was learnt from.
        bare: The totals that have no interval.
        used: Score of the model that is used.
        paused: Whether that is because nothing runs at the moment.
    """
    found = []
    if used.sum_error is None:
        found.append(
            f"{_days(regime.known)} known: too few to compare models; the mean of each "
            "weekday is used."
        )
    without = ", ".join(bare)
    if paused:
        found.append("No interval: no past days show how much runs after a pause.")
    elif without:
        found.append(
            f"No interval for {without}: the past has fewer than {MIN_CASES} totals of "
            "that length to test."
        )
    over = series.end.day - 1
    gaps = sum(value is None for value in series.values[-over:]) if over else 0
    if gaps:
        found.append(f"{_days(gaps)} missing from this month's spending and its sum.")
    return found


def past_notes(series: DailySeries, regime: DailySeries, learnt: Learnt) -> list[str]:
    """What happened that the days to come are not like, in sentences.

    Args:
        series: What is known.
        regime: What was learnt from.
        learnt: How it was read.
    """
    found = []
    if regime.first_day > series.first_day:
        found.append(_regime_over(series, regime))
    for fate, pauses in _by_fate(learnt).items():
        shown = [f"from {regime.day(p.first)} to {regime.day(p.last)}" for p in pauses]
        found.append(f"In busy weeks nothing ran {_listed(shown)}; {fate}.")
    if learnt.resting:
        since = regime.day(learnt.resting.first)
        until = regime.day(learnt.resting.last)
        ahead = ", and so are the days to come" if learnt.is_over else ""
        found.append(
            f"In busy weeks nothing ran from {since} to {until}; counted as zero "
            f"cost{ahead}."
        )
    found += [
        f"{regime.day(o.at)} cost {_usd(o.cost)}, where {_usd(o.usual)} is usual: left "
        "out of the forecast until it repeats."
        for o in learnt.outliers[-_SHOWN:]
    ]
    if learnt.repeated:
        shown = [f"{regime.day(o.at)} ({_usd(o.cost)})" for o in learnt.repeated]
        found.append(
            f"Far above what is usual were {_listed(shown)}: such days add "
            f"{_usd(learnt.extra)} to each day ahead, as often as they repeated."
        )
    return found


def _regime_over(series: DailySeries, regime: DailySeries) -> str:
    before = series.values[: len(series.values) - len(regime.values)]
    last = max(index for index, value in enumerate(before) if value)
    usual = [median(v for v in values if v) for values in (before, regime.values)]
    return (
        f"From {series.first_day} to {series.day(last)} most days cost "
        f"{_usd(usual[0])}, now {_usd(usual[1])}. In between nothing ran until "
        f"{regime.first_day - timedelta(days=1)}. The forecast learns from "
        f"{regime.first_day} on."
    )


def _by_fate(learnt: Learnt) -> dict[str, list[CostPause]]:
    """The pauses that have ended, by what is made of them."""
    fates: dict[str, list[CostPause]] = {}
    for pause in learnt.pauses:
        if pause == learnt.resting:
            continue
        fate = "counted as zero cost"
        if pause in learnt.left_out:
            fate += ", and left out of the usual level"
        fates.setdefault(fate, []).append(pause)
    return fates


def _listed(shown: Sequence[str]) -> str:
    """The last few of them."""
    earlier = len(shown) - _SHOWN
    more = f" and {earlier} times before" if earlier > 0 else ""
    return ", ".join(shown[-_SHOWN:]) + more


def _usd(value: float) -> str:
    return f"${value:,.2f}"


def _days(count: int) -> str:
    return f"{count} day is" if count == 1 else f"{count} days are"
