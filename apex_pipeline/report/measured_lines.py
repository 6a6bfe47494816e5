"""Turn a measurement, or its failure, into a report line."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TypeVar

from apex_pipeline.errors import ApexError
from apex_pipeline.report.document import Block, LineState, ReportLine, unmeasured

_Found = TypeVar("_Found")

Seen = tuple[LineState, str]
"""A state, and the measured value as text."""


def met(actual: str) -> Seen:
    return LineState.MET, actual


def not_met(actual: str) -> Seen:
    return LineState.NOT_MET, actual


def warning(actual: str) -> Seen:
    """It works but needs attention."""
    return LineState.WARNING, actual


def not_measured(reason: str) -> Seen:
    """There is no measurement, for this reason."""
    return LineState.NOT_MEASURED, reason


def measure(name: str, target: str, how: str, look: Callable[[], Seen]) -> ReportLine:
    """Measure with *look*; an `ApexError` becomes the reason for no measurement."""
    try:
        state, actual = look()
    except ApexError as error:
        state, actual = not_measured(str(error))
    return ReportLine(name, state, actual, target, how)


def gathered(name: str, work: Callable[[], Iterable[Block]]) -> tuple[Block, ...]:
    """The blocks of *work*; after an `ApexError`, only the reason."""
    try:
        return tuple(work())
    except ApexError as error:
        return (unmeasured(name, str(error)),)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that *percent* of the values do not exceed (nearest rank).

    Args:
        values: At least one.
        percent: Above 0, at most 100.
    """
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def seconds(value: float) -> str:
    """Format a duration with a sensible number of digits."""
    if value < 1:
        return f"{value * 1000:,.0f} ms"
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:,.0f} s" if value < 600 else f"{value / 60:,.0f} min"


def instant(at: datetime | None) -> str:
    """Format an instant in UTC; the table's heading names the time zone."""
    return "–" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"  # noqa: RUF001  a dash for nothing


def once(look: Callable[[], _Found]) -> Callable[[], _Found]:
    """Cache the result or the error of the first call."""
    outcome: Future[_Found] = Future()

    def get() -> _Found:
        if not outcome.done():
            try:
                outcome.set_result(look())
            except ApexError as error:
                outcome.set_exception(error)
        return outcome.result()

    return get
