"""Made-up daily costs of known character, the same from the same seed."""

import math
import random
from collections.abc import Callable

WEEK = (1.1, 1.2, 1.15, 1.1, 0.95, 0.3, 0.2)


def weekly(days: int, seed: int) -> list[float]:
    """A steady level, working days above weekends, honest noise."""
    rng = random.Random(seed)
    return [100 * WEEK[n % 7] * rng.lognormvariate(0, 0.15) for n in range(days)]


def growing(days: int, seed: int) -> list[float]:
    """Growth of half a percent a day with 6 % of days without any cost."""
    rng = random.Random(seed)
    return [
        0.0
        if rng.random() < 0.06
        else 20 * 1.005**n * WEEK[n % 7] * rng.lognormvariate(0, 0.2)
        for n in range(days)
    ]


def closed_weekends(days: int, seed: int) -> list[float]:
    """Nothing at all on Saturdays and Sundays."""
    rng = random.Random(seed)
    return [0.0 if n % 7 > 4 else 60 * rng.lognormvariate(0, 0.3) for n in range(days)]


def intermittent(days: int, seed: int) -> list[float]:
    """Three days in four without cost, the others dear."""
    rng = random.Random(seed)
    return [
        0.0 if rng.random() < 0.75 else rng.lognormvariate(3, 0.8) for n in range(days)
    ]


def spiky(days: int, seed: int) -> list[float]:
    """One day in forty costs eight times as much."""
    rng = random.Random(seed)
    return [
        50
        * WEEK[n % 7]
        * rng.lognormvariate(0, 0.2)
        * (8 if rng.random() < 0.025 else 1)
        for n in range(days)
    ]


def shifting(days: int, seed: int) -> list[float]:
    """The level doubles or halves at random, every ten weeks or so."""
    rng = random.Random(seed)
    level, costs = 40.0, []
    for n in range(days):
        if rng.random() < 1 / 70:
            level *= rng.choice((0.5, 2.0)) if 5 < level < 500 else 40 / level
        costs.append(level * WEEK[n % 7] * rng.lognormvariate(0, 0.2))
    return costs


def wandering(days: int, seed: int) -> list[float]:
    """A random walk of the level, without any week."""
    rng = random.Random(seed)
    level, costs = 4.0, []
    for _ in range(days):
        level += rng.gauss(0, 0.05)
        costs.append(math.exp(level) * rng.lognormvariate(0, 0.1))
    return costs


def steps_in_the_week(days: int, seed: int) -> list[float]:
    """The weekdays' cost is added, not multiplied, and the noise is even."""
    rng = random.Random(seed)
    return [
        max(0.0, 80 + 40 * (n % 7 < 5) + rng.gauss(0, 12) + 0.05 * n)
        for n in range(days)
    ]


# In the kinds below, something happens near the end of what is known, which is AHEAD
# days before the end of the series.
AHEAD = 30


def pilot(days: int, seed: int) -> list[float]:
    """A pilot, nothing for months, and then business."""
    rng = random.Random(seed)
    since = AHEAD + max(10, min(days // 5, 60))
    busy, piloted = days - since, min(36, days // 6)
    return [
        (12 if n < piloted else 60) * WEEK[n % 7] * rng.lognormvariate(0, 0.2)
        if n < piloted or n >= busy
        else 0.0
        for n in range(days)
    ]


def outlier(days: int, seed: int) -> list[float]:
    """One day of 50,000 among days of 50, up to two months ago."""
    rng = random.Random(seed)
    at = max(0, days - AHEAD - 1 - rng.choice((0, 1, 6, 20, 59)))
    return [
        50_000 if n == at else 50 * WEEK[n % 7] * rng.lognormvariate(0, 0.2)
        for n in range(days)
    ]


def outliers(days: int, seed: int) -> list[float]:
    """One day in fifty costs forty times as much."""
    rng = random.Random(seed)
    return [
        50
        * WEEK[n % 7]
        * rng.lognormvariate(0, 0.2)
        * (40 if rng.random() < 0.02 else 1)
        for n in range(days)
    ]


def shutdown(days: int, seed: int) -> list[float]:
    """Two weeks of nothing that ended up to two weeks ago."""
    rng = random.Random(seed)
    end = days - AHEAD - rng.randint(1, 14)
    return [
        0.0 if end - 14 <= n < end else 60 * WEEK[n % 7] * rng.lognormvariate(0, 0.2)
        for n in range(days)
    ]


def stepped(days: int, seed: int) -> list[float]:
    """Three times as much for the last two to six weeks."""
    rng = random.Random(seed)
    since = days - AHEAD - rng.randint(14, 42)
    return [
        50 * (3 if n >= since else 1) * WEEK[n % 7] * rng.lognormvariate(0, 0.2)
        for n in range(days)
    ]


def bursts(days: int, seed: int) -> list[float]:
    """Campaigns of five dear days, a month or so apart, over a low level."""
    rng = random.Random(seed)
    costs, left = [], 0
    for n in range(days):
        left = left - 1 if left else 5 * (rng.random() < 1 / 30)
        costs.append((60 if left else 8) * WEEK[n % 7] * rng.lognormvariate(0, 0.3))
    return costs


def fading(days: int, seed: int) -> list[float]:
    """One percent less each day."""
    rng = random.Random(seed)
    return [
        800 * 0.99**n * WEEK[n % 7] * rng.lognormvariate(0, 0.2) for n in range(days)
    ]


def rare(days: int, seed: int) -> list[float]:
    """One day in twenty costs something."""
    rng = random.Random(seed)
    return [
        rng.lognormvariate(4, 0.5) if rng.random() < 0.05 else 0.0 for n in range(days)
    ]


KINDS: dict[str, Callable[[int, int], list[float]]] = {
    "weekly": weekly,
    "growing": growing,
    "closed_weekends": closed_weekends,
    "intermittent": intermittent,
    "spiky": spiky,
    "shifting": shifting,
    "wandering": wandering,
    "steps_in_the_week": steps_in_the_week,
}
"""Costs that go on as they were."""

EVENTS: dict[str, Callable[[int, int], list[float]]] = {
    "pilot": pilot,
    "outlier": outlier,
    "outliers": outliers,
    "shutdown": shutdown,
    "stepped": stepped,
    "bursts": bursts,
    "fading": fading,
    "rare": rare,
}
"""Costs to which something happens."""
