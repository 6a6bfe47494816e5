"""What is said of a forecast: why this model, and what limits it."""

from collections.abc import Iterable, Mapping

from apex_pipeline.analytics.forecast.backtest import Score
from apex_pipeline.analytics.forecast.daily_series import DailySeries
from apex_pipeline.analytics.forecast.intervals import MIN_CASES
from apex_pipeline.analytics.forecast.models import MIN_DAYS

NOTHING_KNOWN = "No day's cost is known yet."
TOO_FEW_TO_COMPARE = "Too few days are known to compare models."


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


def note(series: DailySeries, bare: Iterable[str], used: Score) -> str:
    """Of a series that models were tried on.

    Args:
        series: What was learnt from.
        bare: The totals that have no interval.
        used: Score of the model that is used.
    """
    notes = []
    if used.sum_error is None:
        notes.append(
            f"{_days(series.known)} known: too few to compare models; the mean of each "
            "weekday is used."
        )
    without = ", ".join(bare)
    if without:
        notes.append(
            f"No interval for {without}: fewer than {MIN_CASES} totals of that "
            "length can be tried on the past."
        )
    over = series.end.day - 1
    gaps = sum(value is None for value in series.values[-over:]) if over else 0
    if gaps:
        notes.append(
            f"Of this month, {_days(gaps)} missing in what was spent and in its sum."
        )
    return " ".join(notes)


def _days(count: int) -> str:
    return f"{count} day is" if count == 1 else f"{count} days are"
