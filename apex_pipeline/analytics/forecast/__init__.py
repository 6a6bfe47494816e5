"""Forecasts of a daily cost, in pure Python.

`series` tells missing days from days of zero, `past` recognises outliers, pauses and
regimes that are over, `models` make a week that repeats, `backtest` repeats the forecasts
of the past, `conformal` turns their errors into intervals, `training` puts these
together, and `wording` says what there is to say of it. Nothing here knows of Postgres
or Dagster.

Why no library: on series of 30 to 365 days with a week in them, automatic exponential
smoothing, ARIMA and the like were no better than this in a backtest of 30 days ahead,
and cost 200 to 400 MB. `python -m benchmarks.forecast` repeats what can be repeated.
"""

from apex_pipeline.analytics.forecast.backtest import HORIZON, Score
from apex_pipeline.analytics.forecast.daily_series import (
    MAX_DAYS,
    DailySeries,
    daily_series,
    is_cost,
)
from apex_pipeline.analytics.forecast.intervals import LEVELS, Interval
from apex_pipeline.analytics.forecast.training import (
    MOST_TIMES,
    Forecast,
    ForecastDay,
    ForecastTotal,
    ModelScore,
    forecast,
)

__all__ = [
    "HORIZON",
    "LEVELS",
    "MAX_DAYS",
    "MOST_TIMES",
    "DailySeries",
    "Forecast",
    "ForecastDay",
    "ForecastTotal",
    "Interval",
    "ModelScore",
    "Score",
    "daily_series",
    "forecast",
    "is_cost",
]
