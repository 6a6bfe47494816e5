"""Forecasts that are one week long, and repeat.

A model reads the days up to now and says what each of the next seven will cost; the
week after is the same. So weekdays need no calendar: the day seven after a day has its
phase. None is a day that is not known.
"""

from collections.abc import Callable, Sequence

Week = tuple[float, ...]
"""Seven values: the first is for the day that follows what was read."""

Values = Sequence[float | None]
Model = Callable[[Values], Week]

# Fewer days than two weeks show no weekday profile.
MIN_DAYS = 14

LEVEL_DAYS = 182
"""What lies further back than half a year sets no level."""

_PROFILE_DAYS = 56
_BASELINE_DAYS = 28
_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def flat_mean(values: Values) -> Week:
    """The mean of the last 28 days, for every day."""
    known = [value for value in values[-_BASELINE_DAYS:] if value is not None]
    known = known or [value for value in values if value is not None]
    return (sum(known) / len(known) if known else 0.0,) * 7


def seasonal_naive(values: Values) -> Week:
    """What the last known day of the same weekday cost."""
    fallback = flat_mean(values)
    week = []
    for phase in range(7):
        same = values[len(values) - 7 + phase :: -7] if len(values) + phase > 6 else ()
        week.append(next((v for v in same if v is not None), fallback[phase]))
    return tuple(week)


def weekday_mean(values: Values) -> Week:
    """The mean of each weekday over the last 28 days."""
    fallback = flat_mean(values)
    sums, counts = _by_phase(values[-_BASELINE_DAYS:])
    return tuple(
        total / count if count else mean
        for total, count, mean in zip(sums, counts, fallback, strict=True)
    )


def weekday_level(values: Values) -> Week:
    """Weekday profile of eight weeks times a level by exponential smoothing.

    The smoothing rate is the one whose one-step errors were the smallest.
    """
    profile = _profile(values[-_PROFILE_DAYS:])
    recent = values[-LEVEL_DAYS:]
    start = -len(recent)
    steps = [
        # A weekday on which next to nothing is spent says next to nothing about the
        # level; dividing by its share would make it shout.
        (value, share, min(share, 1 / share))
        for phase, value in enumerate(recent, start)
        if value is not None and (share := profile[phase % 7]) > 0
    ]
    level = _level(steps)
    return tuple(max(0.0, level * share) for share in profile)


def _profile(values: Values) -> list[float]:
    sums, counts = _by_phase(values)
    known = sum(counts)
    mean = sum(sums) / known if known else 0.0
    if mean <= 0:
        return [1.0] * 7
    return [
        total / count / mean if count else 1.0
        for total, count in zip(sums, counts, strict=True)
    ]


def _level(steps: Sequence[tuple[float, float, float]]) -> float:
    """The last level of the best rate, from value, share and gain of each day."""
    first = steps[:_BASELINE_DAYS]
    shares = sum(share for _, share, _ in first)
    begin = sum(value for value, _, _ in first) / shares if shares else 0.0
    best = (float("inf"), begin)
    for rate in _RATES:
        level, total = begin, 0.0
        for value, share, gain in steps:
            error = value - level * share
            total += abs(error)
            level += rate * gain * error
        best = min(best, (total, level))
    return best[1]


def _by_phase(values: Values) -> tuple[list[float], list[int]]:
    sums, counts = [0.0] * 7, [0] * 7
    for phase, value in enumerate(values, -len(values)):
        if value is not None:
            sums[phase % 7] += value
            counts[phase % 7] += 1
    return sums, counts
