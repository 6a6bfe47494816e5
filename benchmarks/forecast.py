"""The forecast: time, accuracy and honesty, against the simple ways to forecast.

    python -m benchmarks.forecast [FIRST_SEED]

Made-up series of eight kinds (`apex_pipeline_tests/support/cost_series.py`), 25 of each kind and
length. Accuracy is that of the next 30 days' sum, which nothing saw: absolute error over
the true sum, mean over the kinds. `chosen` is what `forecast` uses. Coverage is the share
of those sums inside the intervals of 50 % and 80 %.

Then a table by kind, with eight more kinds to which something happens, such as a pilot, a
pause or a day of 50,000 dollars: what it was before outliers, pauses and regimes that are
over were recognised (`forecast_before.json`), and what it is. What was before is known of
the seeds from 1000 on; others show whether a figure is of those seeds alone.
"""

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from apex_pipeline.analytics.forecast import (
    DailySeries,
    Forecast,
    daily_series,
    forecast,
)
from apex_pipeline.analytics.forecast.backtest import total
from apex_pipeline.analytics.forecast.training import MODELS
from apex_pipeline_tests.support.cost_series import AHEAD, EVENTS, KINDS

_BEFORE = Path(__file__).with_name("forecast_before.json")
_START = date(2025, 1, 1)
_OWN_SEED, _SERIES = 1000, 25
_BAR_DAYS, _BAR_MS = 365, 100


def main(first_seed: int = _OWN_SEED) -> None:
    """Print the figures for series of several lengths."""
    seeds = range(first_seed, first_seed + _SERIES)
    _time()
    for days in (30, 60, 120, 365):
        _accuracy(days, seeds)
    for days, before in json.loads(_BEFORE.read_text()).items():
        _by_kind(int(days), seeds, before if first_seed == _OWN_SEED else {})


def _time() -> None:
    for days in (90, 365, 728):
        milliseconds = []
        for make in KINDS.values():
            series = DailySeries(_START, tuple(make(days, 1)))
            for _ in range(5):
                # It computes and waits for nothing, so this is what it takes on a
                # machine that has nothing else to do.
                begun = time.process_time()
                forecast(series)
                milliseconds.append(1000 * (time.process_time() - begun))
        print(
            f"forecast with backtest of {len(MODELS)} models over {days} points: median "
            f"{median(milliseconds):.0f} ms, slowest {max(milliseconds):.0f} ms"
            + (f" (to be under {_BAR_MS} ms)" if days == _BAR_DAYS else "")
        )


def _accuracy(days: int, seeds: range) -> None:
    errors: dict[str, float] = defaultdict(float)
    used: Counter[str | None] = Counter()
    inside, tested = [0, 0], 0
    for make in KINDS.values():
        wrong: dict[str, float] = defaultdict(float)
        outcomes = 0.0
        for seed in seeds:
            values = make(days + AHEAD, seed)
            known, outcome = tuple(values[:days]), sum(values[days:])
            found = forecast(DailySeries(_START, known))
            used[found.model] += 1
            outcomes += outcome
            wrong["chosen"] += abs(_month(found) - outcome)
            for name, model in MODELS.items():
                wrong[name] += abs(total(model(known), AHEAD) - outcome)
            for level, held in enumerate(_held(found, outcome)):
                inside[level] += held
                tested += level == 0
        for name, error in wrong.items():
            errors[name] += error / outcomes / len(KINDS)
    figures = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    print(f"{days} days known: error of the next {AHEAD} days' sum: {figures}")
    names = ", ".join(f"{name} {count}" for name, count in used.most_common())
    print(f"  used: {names}")
    if tested:
        shares = " and ".join(f"{100 * count / tested:.0f} %" for count in inside)
        print(f"  inside the intervals of 50 % and 80 %: {shares} of {tested}")


def _by_kind(
    days: int, seeds: range, before: dict[str, dict[str, float | None]]
) -> None:
    print(f"\n{days} days known, by kind; coverage and width of 80 % intervals")
    print(
        "| kind | error of 30 days | coverage of 30 days | widest, times the dearest |"
    )
    print("|---|---|---|---|")
    for kind, make in (KINDS | EVENTS).items():
        figures = _of_kind(make, days, seeds)
        then = before.get(kind)
        cells = (
            (f"{_figure(then[name])} → " if then else "") + _figure(figure)
            for name, figure in figures.items()
        )
        print(f"| {kind} | {' | '.join(cells)} |")


def _of_kind(
    make: Callable[[int, int], list[float]], days: int, seeds: range
) -> dict[str, float | None]:
    """Error, coverage, and the widest interval of 7, 30 and 90 days.

    Its width is in units of the dearest 7, 30 or 90 days that there were.
    """
    wrong = outcomes = widest = 0.0
    held: list[bool] = []
    for seed in seeds:
        values = make(days + AHEAD, seed)
        known = {_START + timedelta(n): value for n, value in enumerate(values[:days])}
        found = forecast(daily_series(known, _START + timedelta(days)))
        outcome = sum(values[days:])
        wrong += abs(_month(found) - outcome) if found.totals else outcome
        outcomes += outcome
        held += _held(found, outcome)[1:]
        dearest = DailySeries(_START, tuple(values[:days])).most
        widths = [
            (total.intervals[1].high - total.intervals[1].low) / dearest(length)
            for total, length in zip(found.totals, (7, 30, 90), strict=False)
            if total.intervals[1]
        ]
        widest = max([widest, *widths])
    coverage = sum(held) / len(held) if held else None
    return {"error": wrong / outcomes, "coverage": coverage, "widest": widest or None}


def _figure(figure: float | None) -> str:
    if figure is None:
        return "none"
    return f"{figure:,.0f}" if figure > 100 else f"{figure:.3g}"


def _month(found: Forecast) -> float:
    return next(t.cost for t in found.totals if t.horizon == "30d")


def _held(found: Forecast, outcome: float) -> list[bool]:
    bounds = next((t.intervals for t in found.totals if t.horizon == "30d"), ())
    return [i.low <= outcome <= i.high for i in bounds if i is not None]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
