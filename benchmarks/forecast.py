"""The forecast: time, accuracy and honesty, against the simple ways to forecast.

    python benchmarks/forecast.py

Made-up series of eight kinds (`apex_pipeline_tests/support/cost_series.py`), 25 of each kind and
length. Accuracy is that of the next 30 days' sum, which nothing saw: absolute error over
the true sum, mean over the kinds. `chosen` is what `forecast` uses. Coverage is the share
of those sums inside the intervals of 50 % and 80 %.
"""

import time
from collections import Counter, defaultdict
from datetime import date
from statistics import median

from apex_pipeline.analytics.forecast import DailySeries, Forecast, forecast
from apex_pipeline.analytics.forecast.backtest import total
from apex_pipeline.analytics.forecast.training import MODELS
from apex_pipeline_tests.support.cost_series import KINDS

_START = date(2025, 1, 1)
_SEEDS = range(1000, 1025)
_AHEAD = 30
_BAR_DAYS, _BAR_MS = 365, 100


def main() -> None:
    """Print the figures for series of several lengths."""
    _time()
    for days in (30, 60, 120, 365):
        _accuracy(days)


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


def _accuracy(days: int) -> None:
    errors: dict[str, float] = defaultdict(float)
    used: Counter[str | None] = Counter()
    inside, tested = [0, 0], 0
    for make in KINDS.values():
        wrong: dict[str, float] = defaultdict(float)
        outcomes = 0.0
        for seed in _SEEDS:
            values = make(days + _AHEAD, seed)
            known, outcome = tuple(values[:days]), sum(values[days:])
            found = forecast(DailySeries(_START, known))
            used[found.model] += 1
            outcomes += outcome
            wrong["chosen"] += abs(_month(found) - outcome)
            for name, model in MODELS.items():
                wrong[name] += abs(total(model(known), _AHEAD) - outcome)
            for level, held in enumerate(_held(found, outcome)):
                inside[level] += held
                tested += level == 0
        for name, error in wrong.items():
            errors[name] += error / outcomes / len(KINDS)
    figures = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    print(f"{days} days known: error of the next {_AHEAD} days' sum: {figures}")
    names = ", ".join(f"{name} {count}" for name, count in used.most_common())
    print(f"  used: {names}")
    if tested:
        shares = " and ".join(f"{100 * count / tested:.0f} %" for count in inside)
        print(f"  inside the intervals of 50 % and 80 %: {shares} of {tested}")


def _month(found: Forecast) -> float:
    return next(t.cost for t in found.totals if t.horizon == "30d")


def _held(found: Forecast, outcome: float) -> list[bool]:
    bounds = next(t.intervals for t in found.totals if t.horizon == "30d")
    return [i.low <= outcome <= i.high for i in bounds if i is not None]


if __name__ == "__main__":
    main()
