"""What happened in a series that the days to come are not like.

Three things would otherwise set a forecast for weeks: a day of another order of
magnitude, a pause, and a regime that is over. Each is recognised from what was known on
the day in question alone, so a backtest can do the same in the past.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from statistics import median

from apex_pipeline.analytics.forecast.models import LEVEL_DAYS, Values

PAUSE_DAYS = 5
"""Days without cost, within busy weeks, that are worth a word."""

LONG_PAUSE_DAYS = 21
"""A pause of this length ends a regime."""

_BUSY_SHARE = 0.5
_NEIGHBOURHOOD_DAYS = 56
# Around a long pause: one busy day after it does not say that it is over.
_SUPPOSED_DAYS = 14
_BY_CHANCE = 0.0001
# Levels further apart than this are of different businesses, such as a pilot's.
_ALIKE = 2.5

_FAR_ABOVE = 15
_DEVIATIONS = 4
_MAD_TO_DEVIATION = 1.4826
_USUAL_DAYS = 14
_JUDGED_DAYS = 7
# As many days of this size within a week, or in runs over half a year, are no outliers.
_LEVEL_OF_ITS_OWN = 5
_RUN_DAYS = 7
_OF_A_SIZE = 1 / 3


@dataclass(frozen=True, slots=True)
class Outlier:
    """A day of another order of magnitude.

    Attributes:
        at: Its index.
        cost: US dollars.
        usual: Median of the days with cost before it, US dollars; of those after it at
            the beginning of a series.
        known: Index of the day that showed it.
    """

    at: int
    cost: float
    usual: float
    known: int


@dataclass(frozen=True, slots=True)
class CostPause:
    """Days without any cost within busy weeks; indices of the first and the last."""

    first: int
    last: int

    @property
    def days(self) -> int:
        """Its length."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a model reads of the days before some day.

    Attributes:
        values: The days; None for those that are missing or left out.
        outliers: Days left out, because nothing like them has happened again.
        repeated: Outliers like which there was another.
        often: How many of the repeated ones there are in a day, on average.
        repeats: The same without the first of them, which repeated nothing.
        each: What such a day costs beyond others, on average, US dollars.
        pauses: Those of the learnt days, left out or not.
        left_out: Those of them that are over and have not repeated.
        resting: The pause that goes on; whether or when it ends cannot be learnt.
        is_over: Whether that pause is so long that nothing is expected but its going on.
    """

    values: tuple[float | None, ...]
    outliers: tuple[Outlier, ...]
    repeated: tuple[Outlier, ...]
    often: float
    repeats: float
    each: float
    pauses: tuple[CostPause, ...]
    left_out: tuple[CostPause, ...]
    resting: CostPause | None
    is_over: bool

    @property
    def extra(self) -> float:
        """What the repeated outliers add to every day, on average, US dollars."""
        return self.repeats * self.each


class Past:
    """A series, and what was to be learnt from it on each of its days."""

    def __init__(self, values: Values, free: Collection[int] = ()) -> None:
        """Look through it once.

        Args:
            values: The days.
            free: Indices of days on which something ran at no cost; no part of a pause.
        """
        self.values = tuple(values)
        self._spent = [index for index, value in enumerate(self.values) if value]
        self._high = list(_far_above(self.values, self._spent))
        self._idle = list(_idle(self.values, free))

    def before(self, at: int) -> Learnt:
        """What could be learnt from the days before one."""
        values = list(self.values[:at])
        pauses = [
            run
            for run in (CostPause(p.first, min(p.last, at - 1)) for p in self._idle)
            if run.first < at and _is_pause(values, run)
        ]
        resting = next((pause for pause in pauses if pause.last == at - 1), None)
        over = [pause for pause in pauses if pause is not resting]
        short = [pause for pause in over if pause.days < LONG_PAUSE_DAYS]
        if sum(pause.last >= at - LEVEL_DAYS for pause in short) > 1:
            short = []
        left_out = [p for p in over if p in short or p.days >= LONG_PAUSE_DAYS]
        for pause in left_out:
            values[pause.first : pause.last + 1] = [None] * pause.days
        single, repeated = self._outliers(at)
        for outlier in (*single, *repeated):
            values[outlier.at] = None
        recent = [o for o in repeated if o.at >= at - LEVEL_DAYS]
        beyond = sum(outlier.cost - outlier.usual for outlier in recent)
        span = min(at, LEVEL_DAYS)
        return Learnt(
            values=tuple(values),
            outliers=single,
            repeated=repeated,
            often=len(recent) / span if recent else 0.0,
            repeats=(len(recent) - 1) / span if recent else 0.0,
            each=beyond / len(recent) if recent else 0.0,
            pauses=tuple(pauses),
            left_out=tuple(left_out),
            resting=resting,
            is_over=resting is not None and resting.days >= LONG_PAUSE_DAYS,
        )

    def _outliers(self, at: int) -> tuple[tuple[Outlier, ...], tuple[Outlier, ...]]:
        """Those known before a day: the ones that stand alone, and the others."""
        known = [
            outlier
            for rank, outlier in self._high
            if outlier.known < at and not self._is_level(rank, outlier.cost, at)
        ]
        single: list[Outlier] = []
        repeated: list[Outlier] = []
        for outlier in known:
            like = sum(other.cost >= outlier.cost * _OF_A_SIZE for other in known)
            (repeated if like > 1 else single).append(outlier)
        return tuple(single), tuple(repeated)

    def _is_level(self, rank: int, cost: float, at: int) -> bool:
        """Whether days of this size come in runs: around it, or over half a year."""
        near = self._spent[max(0, rank - _JUDGED_DAYS) : rank + _JUDGED_DAYS + 1]
        if len(self._alike(near, cost, at)) >= _LEVEL_OF_ITS_OWN:
            return True
        lately = self._spent[bisect_left(self._spent, at - LEVEL_DAYS) :]
        alike = self._alike(lately, cost, at)
        in_runs = {
            index
            for pair in pairwise(alike)
            if pair[1] - pair[0] <= _RUN_DAYS
            for index in pair
        }
        return len(in_runs) >= _LEVEL_OF_ITS_OWN

    def _alike(self, indices: Sequence[int], cost: float, at: int) -> list[int]:
        """Those of the days, before some day, whose cost is of this size."""
        least = cost * _OF_A_SIZE
        return [i for i in indices if i < at and (self.values[i] or 0.0) >= least]

    def regime(self) -> int:
        """Index of the first day that the last one still is like.

        What lies before a long pause is another regime if it cost much more or less.
        """
        left_out = self.before(len(self.values)).left_out
        long = [pause for pause in left_out if pause.days >= LONG_PAUSE_DAYS]
        begins = [0, *(pause.last + 1 for pause in long)]
        ends = [*(pause.first for pause in long), len(self.values)]
        usual = [
            median([value for value in self.values[first:end] if value] or [0.0])
            for first, end in zip(begins, ends, strict=True)
        ]
        since = begins[-1]
        for begin, level in reversed(list(zip(begins, usual, strict=True))):
            if not usual[-1] / _ALIKE <= level <= usual[-1] * _ALIKE:
                break
            since = begin
        return since


def _far_above(values: Values, spent: Sequence[int]) -> Iterator[tuple[int, Outlier]]:
    """Days far above those before them, with their rank among days with cost."""
    for rank, at in enumerate(spent):
        near, known = spent[max(0, rank - _USUAL_DAYS) : rank], at
        if rank < _JUDGED_DAYS:
            near = spent[rank + 1 : rank + 1 + _JUDGED_DAYS]
            if len(near) < _JUDGED_DAYS:
                return
            known = near[-1]
        cost, others = values[at] or 0.0, [values[index] or 0.0 for index in near]
        usual = median(others)
        if cost <= _FAR_ABOVE * usual:
            continue
        spread = median(abs(log(value) - log(usual)) for value in others)
        # By logarithms: days as far apart as floats go would overflow otherwise.
        if log(cost) - log(usual) > _DEVIATIONS * _MAD_TO_DEVIATION * spread:
            yield rank, Outlier(at, cost, usual, known)


def _idle(values: Values, free: Collection[int]) -> Iterator[CostPause]:
    """Stretches of days on which nothing ran."""
    first = None
    for index, value in enumerate((*values, None)):
        if value == 0 and index not in free:
            first = index if first is None else first
        elif first is not None:
            if index - first >= PAUSE_DAYS:
                yield CostPause(first, index - 1)
            first = None


def _is_pause(values: Values, run: CostPause) -> bool:
    """Whether a stretch of nothing is no part of how the series usually goes."""
    if run.days < PAUSE_DAYS:
        return False
    before = values[max(0, run.first - _NEIGHBOURHOOD_DAYS) : run.first]
    if run.days < LONG_PAUSE_DAYS:
        return _busy(before, 3) >= _BUSY_SHARE
    after = values[run.last + 1 : run.last + 1 + _NEIGHBOURHOOD_DAYS]
    busy = min(
        _busy(before, _SUPPOSED_DAYS), _busy(after, _SUPPOSED_DAYS) if after else 1.0
    )
    # Half a year without any cost is a pause of any business that was.
    goes_on = not after and run.days >= LEVEL_DAYS
    return goes_on or (1 - busy) ** run.days < _BY_CHANCE


def _busy(values: Values, more: int) -> float:
    """Share of the known days that cost something.

    As many more days without cost are supposed: a few days say little.
    """
    known = [value for value in values if value is not None]
    return sum(value > 0 for value in known) / (len(known) + more)
