"""The asset of the cost forecast, with its checks."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from apex_pipeline.analytics.charts.campaign_charts import (
    PERIODS_SHOWN,
    forecast_picture,
    forecast_sparkline,
)
from apex_pipeline.analytics.forecast import HORIZON, MOST_TIMES
from apex_pipeline.analytics.forecast.cost_forecast import train
from apex_pipeline.analytics.forecast.forecast_checks import (
    BAND_POINTS,
    COVERAGE_IN_BAND,
    JUDGED_DAYS,
    LEARNT_UP_TO_YESTERDAY,
    WITHIN_REASON,
    YESTERDAY_AS_FORECAST,
    check,
)
from apex_pipeline.analytics.forecast.latest_forecast import (
    Outlook,
    OutlookScore,
    outlook,
)
from apex_pipeline.analytics.rollups.history import described_columns, totals
from apex_pipeline.analytics.rollups.periods import DAILY, Periods
from apex_pipeline.defs.analytics.analysis_check_results import check_results
from apex_pipeline.defs.analytics.rollup_specs import (
    DAILY_FRESHNESS,
    DAILY_KEY,
    FORECAST_KEY,
    GROUP,
    OWNERS,
)
from apex_pipeline.defs.metadata import image, interval, numbers, table
from apex_pipeline.defs.pool_limits import ANALYSIS_POOL
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services
from apex_pipeline.postgres.database import Database

_PREVIEW_DAYS = 7
_VIEW = "cost_forecast"
_CHECK_WORDS = {
    LEARNT_UP_TO_YESTERDAY: "The forecast includes yesterday's cost, in each time zone.",
    COVERAGE_IN_BAND: f"Over {JUDGED_DAYS} or more past days, the intervals contain the "
    f"actual cost as often as they promise, within {BAND_POINTS} percentage points.",
    WITHIN_REASON: f"No sum or interval exceeds {MOST_TIMES} times the costliest day so far, "
    "times its number of days.",
    YESTERDAY_AS_FORECAST: "Yesterday's cost lies in the 80 % interval that was "
    "forecast for it. One day in five may lie outside by chance.",
}
_SEVERITIES = dict.fromkeys(_CHECK_WORDS, dg.AssetCheckSeverity.WARN) | {
    WITHIN_REASON: dg.AssetCheckSeverity.ERROR
}
_CHECK_SPECS = [
    dg.AssetCheckSpec(name, asset=FORECAST_KEY, description=words)
    for name, words in _CHECK_WORDS.items()
]
_COST = dg.TableColumnDep(DAILY_KEY, "cost_usd")
# Columns derived from the cost and date of computed days.
_LINEAGE = {
    name: [_COST, dg.TableColumnDep(DAILY_KEY, "day")]
    for name in (
        *("cost_usd", "low_50_usd", "high_50_usd", "low_80_usd", "high_80_usd"),
        *("model", "coverage_50_pct", "coverage_80_pct"),
    )
} | {"time_zone": [dg.TableColumnDep(DAILY_KEY, "time_zone")]}


@dg.asset(
    key=FORECAST_KEY,
    deps=[DAILY_KEY],
    check_specs=_CHECK_SPECS,
    group_name=GROUP,
    pool=ANALYSIS_POOL,
    owners=OWNERS,
    kinds={"postgres", "python"},
    freshness_policy=DAILY_FRESHNESS,
    metadata={
        "dagster/table_name": _VIEW,
        "dagster/column_lineage": dg.TableColumnLineage(_LINEAGE),
    },
    description=f"Expected cost of each of the next {HORIZON} days, of the next 7, 30 and "
    "90 days together, and of the month, with 50 % and 80 % intervals: the views "
    "`cost_forecast` and `cost_forecast_horizon`. Each training backtests several models "
    "on `daily_rollup_total` and uses the most accurate one. `cost_forecast_outcome` "
    "compares earlier forecasts with the actual cost.",
)
def cost_forecast(
    context: dg.AssetExecutionContext, services: Services
) -> dg.MaterializeResult:
    """Train on the completed days and store the forecast."""
    with failures():
        settings = services.analysis_settings()
        with services.open_database() as database:
            trainings = train(database, settings, datetime.now(UTC))
            columns = described_columns(database, _VIEW)
            ahead = outlook(database, settings.time_zone)
            metadata = ahead and _metadata(database, settings.time_zone, ahead)
    # What a result brings along, Dagster stores a second time, with the step's output.
    context.add_asset_metadata(
        {
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(c.name, c.type, c.description) for c in columns]
            ),
            "time_zone": settings.time_zone,
            **(metadata or {}),
        }
    )
    return dg.MaterializeResult(
        check_results=check_results(check(trainings), _SEVERITIES)
    )


def _metadata(database: Database, zone: str, ahead: Outlook) -> dict[str, Any]:
    shown = timedelta(days=PERIODS_SHOWN[DAILY.name])
    yesterday = ahead.made_on - timedelta(days=1)
    before = totals(
        database, DAILY, zone, Periods(DAILY, ahead.made_on - shown, yesterday)
    )
    return {
        "dagster/row_count": len(ahead.days),
        "model": ahead.model or "none",
        "why": ahead.reason,
        "limits": ahead.note or "none",
        "trend": image(forecast_sparkline(before, ahead), "Cost"),
        "picture": image(forecast_picture(before, ahead), "Cost and its forecast"),
        "totals": _totals(ahead),
        "backtest": _backtest(ahead),
        "coverage": _coverage(ahead),
        "next_days": _next_days(ahead),
        **_figures(ahead),
    }


def _figures(ahead: Outlook) -> dict[str, float | int]:
    figures: dict[str, Decimal | int | None] = {
        "days_known": ahead.days_known,
        "days_missing": ahead.days_missing,
    }
    for total in ahead.totals:
        name = total.horizon.removesuffix("_end")
        figures |= {
            f"{name}_usd": total.cost_usd,
            f"{name}_low_80_usd": total.low_80_usd,
            f"{name}_high_80_usd": total.high_80_usd,
        }
        if total.horizon == "month_end":
            figures["month_spent_usd"] = total.spent_usd
    for score in ahead.scores[:1]:
        figures |= {
            "mase": score.mase,
            "sum_error_pct": score.sum_error_pct,
            "coverage_80_pct": score.coverage_80_pct,
            "sum_coverage_80_pct": score.sum_coverage_80_pct,
        }
    return numbers(figures)


def _totals(ahead: Outlook) -> dg.MarkdownMetadataValue:
    return table(
        ("total", "USD", "50 %", "80 %"),
        [
            (
                total.horizon.removesuffix("_end"),
                total.cost_usd,
                interval(total.low_50_usd, total.high_50_usd),
                interval(total.low_80_usd, total.high_80_usd),
            )
            for total in ahead.totals
        ],
    )


def _next_days(ahead: Outlook) -> dg.MarkdownMetadataValue:
    return table(
        ("day", "USD", "50 %", "80 %"),
        [
            (
                day.day,
                day.cost_usd,
                interval(day.low_50_usd, day.high_50_usd),
                interval(day.low_80_usd, day.high_80_usd),
            )
            for day in ahead.days[:_PREVIEW_DAYS]
        ],
    )


def _backtest(ahead: Outlook) -> dg.MarkdownMetadataValue:
    """Errors of each model in the backtest."""
    return table(
        ("model", "MASE", f"{_sums(ahead)} off %", "pinball USD"),
        [
            (_model(score), score.mase, score.sum_error_pct, score.pinball_usd)
            for score in ahead.scores
        ],
    )


def _coverage(ahead: Outlook) -> dg.MarkdownMetadataValue:
    """Share of backtested days and sums that fell inside each model's intervals."""
    return table(
        ("model", "days in 50/80 %", f"{_sums(ahead)} in 50/80 %"),
        [
            (
                _model(score),
                _shares(score.coverage_50_pct, score.coverage_80_pct),
                _shares(score.sum_coverage_50_pct, score.sum_coverage_80_pct),
            )
            for score in ahead.scores
        ],
    )


def _model(score: OutlookScore) -> str:
    return f"**{score.model}**" if score.is_used else score.model


def _sums(ahead: Outlook) -> str:
    return next((f"{s.sum_days} d" for s in ahead.scores if s.sum_days), "sums")


def _shares(inner: Decimal | None, outer: Decimal | None) -> str | None:
    return None if inner is None or outer is None else f"{inner:.0f}/{outer:.0f}"
