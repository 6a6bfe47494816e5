"""A day's value each day, where a day that is not known is no day of zero."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from operator import sub

MAX_DAYS = 728
"""What lies further back than two years says nothing about the next 90 days."""

MAX_USD = 1e12
"""More than a day can cost."""


@dataclass(frozen=True, slots=True)
class DailySeries:
    """Consecutive days; None for one that is not known.

    Attributes:
        first_day: The day of the first value.
        values: US dollars a day.
        free: Days on which something ran at no cost; no part of a pause.
    """

    first_day: date
    values: tuple[float | None, ...]
    free: frozenset[date] = frozenset()

    @property
    def end(self) -> date:
        """The day after the last."""
        return self.first_day + timedelta(days=len(self.values))

    @property
    def known(self) -> int:
        """How many days are known."""
        return sum(value is not None for value in self.values)

    def day(self, index: int) -> date:
        """The day of a value."""
        return self.first_day + timedelta(days=index)

    def since(self, index: int) -> "DailySeries":
        """The same from a day on."""
        return DailySeries(self.day(index), self.values[index:], self.free)

    def free_indices(self) -> frozenset[int]:
        return frozenset((day - self.first_day).days for day in self.free)

    def most(self, days: int) -> float:
        """The most that so many days together ever cost, US dollars.

        Of a series that is shorter, its mean for each of them.
        """
        span = min(days, len(self.values))
        sums = list(accumulate((v or 0.0 for v in self.values), initial=0.0))
        most: float = max(map(sub, sums[span:], sums))
        return most * days / span


def is_cost(value: float) -> bool:
    """Whether a day can have cost that; nothing else is learnt from."""
    return 0 <= value <= MAX_USD


def daily_series(
    known: Mapping[date, float], until: date, free: Collection[date] = ()
) -> DailySeries:
    """Line up what is known of the days before *until*.

    Zeros before the first cost are left out: then there was nothing to forecast yet.

    Args:
        known: Value by day. A day that is absent is missing, and not zero; so is one
            with a value that is no cost, such as a negative one.
        until: The first day that is not over; what is known of it is not used.
        free: Days on which something ran at no cost.
    """
    days = sorted(day for day in known if day < until and is_cost(known[day]))
    spent = (day for day in days if known[day] != 0)
    first = max(
        next(spent, days[0] if days else until), until - timedelta(days=MAX_DAYS)
    )
    count = (until - first).days
    learnt = {day: known[day] for day in days}
    return DailySeries(
        first,
        tuple(learnt.get(first + timedelta(days=n)) for n in range(count)),
        frozenset(free),
    )
