"""From figures to places on an axis, and what to write beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil, floor, isfinite, log10

Values = Sequence[float | None]
"""One for each period, from the first; None where nothing is known."""

# strftime would ask the locale.
_MONTHS = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]
_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_INTERVALS = 4
# Beyond these, a float has no room for an axis.
_LARGEST, _SMALLEST = 1e100, 1e-100


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from what is shown to where it is drawn, to a tenth of a pixel."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value is drawn."""
        length = self.high - self.low
        share = (value - self.low) / length if length else 0.0
        return round(self.begin + share * (self.end - self.begin), 1)


def finite(value: float | None) -> float | None:
    """The value, or None if it cannot be drawn."""
    if value is None or not isfinite(value) or abs(value) > _LARGEST:
        return None
    return float(value) if abs(value) > _SMALLEST else 0.0


def runs(values: Values) -> list[list[tuple[int, float]]]:
    """Periods that follow each other and can be drawn, with their numbers."""
    found: list[list[tuple[int, float]]] = [[]]
    for number, value in enumerate(values):
        known = finite(value)
        if known is not None:
            found[-1].append((number, known))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def printable(text: str) -> str:
    """The text without control characters, which XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def value_ticks(
    values: Sequence[float], highest: float | None
) -> list[tuple[float, str]]:
    """Round values from below the smallest to above the largest, with their labels."""
    if highest is None:
        bottom, top = min([0.0, *values]), max([0.0, *values])
    else:
        top = max([highest, *values])
        bottom = min([top - 0.01 * abs(top), *values])
    if top <= bottom:
        top = bottom + 1.0
    step = _round_up((top - bottom) / _INTERVALS)
    first, last = floor(bottom / step + 1e-9), ceil(top / step - 1e-9)
    largest = max(abs(first), abs(last)) * step
    unit, suffix = next(((u, s) for u, s in _SUFFIXES if largest >= u), (1.0, ""))
    return [
        (n * step, f"{n * step / unit:.5g}{suffix if n else ''}")
        for n in range(first, last + 1)
    ]


def _round_up(step: float) -> float:
    power = 10.0 ** floor(log10(step))
    return power * next(s for s in _STEPS if s * power >= step * (1 - 1e-9))


def day_ticks(first: date, last: date) -> Iterator[tuple[date, str]]:
    """Days worth a label, as close together as the length of time allows."""
    days = (last - first).days
    for number in range(days + 1):
        day = first + timedelta(days=number)
        if days <= 10 or (days <= 70 and day.weekday() == 0):
            yield day, short_day(day)
        elif days > 70 and day.day == 1 and (days <= 1500 or day.month == 1):
            yield day, _month(day, is_first=number < 31)


def short_day(day: date) -> str:
    """A day without its year: `25 Nov`."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def _month(day: date, *, is_first: bool) -> str:
    name = _MONTHS[day.month - 1]
    return f"{name} {day.year}" if is_first or day.month == 1 else name
