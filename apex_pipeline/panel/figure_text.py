"""Format figures as text, the same way on the first page and at each refresh.

Numbers are in English notation, whatever the reader's language. An unknown figure is a
dash, never a zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import isfinite
from zoneinfo import ZoneInfo

from apex_pipeline.texts.durations import words

NOTHING = "\N{EN DASH}"

Number = Decimal | int | float
_CENT, _NO_CENTS = 0.01, 1000
_SCALES = ((1_000_000_000, "B"), (1_000_000, "M"), (10_000, "k"))


@dataclass(frozen=True, slots=True)
class FigureText:
    """A figure as text.

    Attributes:
        number: The large text.
        unit: The small text after it; empty if the number includes the unit.
        exact: All digits, shown as a tooltip.
    """

    number: str
    unit: str
    exact: str


@dataclass(frozen=True, slots=True)
class ShownChange:
    """The change of a figure as text.

    Attributes:
        tone: `better`, `worse`, `more`, `less`, `same` or `unknown`.
        arrow: ▲, ▼ or empty.
        text: The amount, and whether it is better.
    """

    tone: str
    arrow: str
    text: str


def figure(value: Number | None, unit: str) -> FigureText:
    """Format a figure of the API; *unit* is one of its units."""
    if value is None or not isfinite(value):
        return FigureText(NOTHING, "", "no data")
    number, short = _UNITS[unit](value)
    return FigureText(number, short, f"{_exact(value)} {unit}")


def change(
    amount: Number | None, change_unit: str, better: str, *, is_known: bool
) -> ShownChange:
    """Format a change of the API.

    Args:
        amount: The change; None if the previous figure is zero or unknown.
        change_unit: `%` or `points`.
        better: `lower`, `higher` or `neither`.
        is_known: Whether the figure itself is known.
    """
    if amount is None or not isfinite(amount):
        text = "nothing to compare with" if is_known else "no data"
        return ShownChange("unknown", "", text)
    if not amount:
        return ShownChange("same", "", "unchanged")
    is_more = amount > 0
    if better == "neither":
        tone = "more" if is_more else "less"
    else:
        tone = "better" if is_more == (better == "higher") else "worse"
    size = f"{abs(amount):,.1f} {'%' if change_unit == '%' else 'points'}"
    return ShownChange(tone, "▲" if is_more else "▼", f"{size} {tone}")


def duration(seconds: Number | None) -> str:
    """Format a duration in its largest unit."""
    if seconds is None or not isfinite(seconds):
        return NOTHING
    return words(timedelta(seconds=float(seconds)))


def instant(at: datetime | None, zone: str) -> str:
    """Tell an instant: the time of day in a time zone, which is named."""
    if at is None:
        return NOTHING
    return f"{at.astimezone(ZoneInfo(zone)):%H:%M:%S} {zone}"


def money(value: Number | None) -> str:
    """Format a sum of money in cents, or in dollars where cents say nothing."""
    if value is None or not isfinite(value):
        return NOTHING
    if 0 < value < _CENT:
        return "<$0.01"
    return f"${value:,.0f}" if not value or value >= _NO_CENTS else f"${value:,.2f}"


def count(value: Number | None) -> str:
    return NOTHING if value is None or not isfinite(value) else f"{value:,.0f}"


def _usd(value: Number) -> tuple[str, str]:
    if not value:
        return "$0", ""
    places = 0 if value >= _NO_CENTS else 2 if value >= 1 else 4
    return f"${value:,.{places}f}", ""


def _milliseconds(value: Number) -> tuple[str, str]:
    if value < 1000:
        return f"{value:,.0f}", "ms"
    seconds = float(value) / 1000
    return f"{seconds:,.{2 if seconds < 10 else 1}f}", "s"


def _percent(value: Number) -> tuple[str, str]:
    return f"{value:.1f}", "%"


def _assets(value: Number) -> tuple[str, str]:
    return f"{value:,.1f}", ""


def _tokens(value: Number) -> tuple[str, str]:
    for scale, name in _SCALES:
        if value >= scale:
            unit = 1000 if name == "k" else scale
            return f"{value / unit:,.{1 if name == 'k' else 2}f}", name
    return f"{value:,.0f}", ""


_UNITS: Mapping[str, Callable[[Number], tuple[str, str]]] = {
    "USD": _usd,
    "ms": _milliseconds,
    "%": _percent,
    "assets": _assets,
    "tokens": _tokens,
}


def _exact(value: Number) -> str:
    if value % 1:
        return f"{value:,.5f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"
