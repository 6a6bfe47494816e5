"""Specs of the rollup assets: partitions, columns, lineage, checks."""

import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from apex_pipeline.analytics.rollups.columns import (
    CAMPAIGN,
    COMPUTED_AT,
    DAY,
    MEASURES,
    PHASE,
    TIME_ZONE,
    WEEK,
    RollupColumn,
)
from apex_pipeline.analytics.rollups.rollup_checks import (
    DAILY_CHECKS,
    MATCHES_RAW_ROWS,
    NO_COST_JUMP,
    NO_GAP,
    NO_IMPOSSIBLE_VALUE,
    NO_ROW_OUTSIDE_HISTORY,
    WEEKLY_CHECKS,
    WEEKS_EQUAL_DAYS,
)
from apex_pipeline.analytics.rollups.weekly_changes import CHANGES, WeeklyChange
from apex_pipeline.defs.code_location import asset_key
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS
from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    UTC_ZONE,
    load_analysis_settings,
)

GROUP = "analysis"
OWNERS = ["team:apex-data"]

# In beta for years, and the only way to compute a range of days in one run.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)


def cut(
    environment: Mapping[str, str],
) -> tuple[dg.DailyPartitionsDefinition, dg.WeeklyPartitionsDefinition]:
    """Return the daily and weekly partitions since the history began.

    A partition is labelled with its date and covers both time zones. A day exists once
    it has begun in either time zone; an ISO week, labelled by its Monday, once it is
    over in both.

    A malformed variable does not stop the code location from loading. It fails each
    rollup run with a message instead, and the sync keeps running.
    """
    try:
        settings = load_analysis_settings(environment)
    except ConfigError:
        settings = load_analysis_settings({})
    zones = [UTC_ZONE, settings.time_zone]
    if _ahead(settings.time_zone):
        zones.reverse()
    start = settings.first_label.isoformat()
    return (
        dg.DailyPartitionsDefinition(start, timezone=zones[0], end_offset=1),
        dg.WeeklyPartitionsDefinition(start, timezone=zones[1], day_offset=1),
    )


def _ahead(zone: str) -> bool:
    """Whether days begin earlier in `zone` than in UTC at any time of the year.

    London is ahead only in summer. A time zone that is ahead for part of the year is
    never behind in the rest, and this process may outlive the change.
    """
    year = datetime.now(UTC).year
    offsets = (datetime(year, m, 1, tzinfo=ZoneInfo(zone)).utcoffset() for m in (1, 7))
    return any(offset is not None and offset.total_seconds() > 0 for offset in offsets)


DAYS, WEEKS = cut(os.environ)
LAST_ZONE = WEEKS.timezone
"""The one of the two time zones in which a day ends last."""


def _metadata(
    table: str, columns: Sequence[RollupColumn | WeeklyChange], upstream: dg.AssetKey
) -> dict[str, Any]:
    measures = {measure.name: measure for measure in MEASURES}
    lineage = {}
    for column in columns:
        source = measures[column.of] if isinstance(column, WeeklyChange) else column
        lineage[column.name] = [
            dg.TableColumnDep(upstream, name) for name in source.sources
        ]
    return {
        "dagster/table_name": table,
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(c.name, c.type, c.description) for c in columns]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {name: deps for name, deps in lineage.items() if deps}
        ),
    }


DAILY_KEY = asset_key("daily_campaign_rollup")
WEEKLY_KEY = asset_key("weekly_campaign_rollup")
HISTORY_KEY = asset_key("campaign_history")
FORECAST_KEY = asset_key("cost_forecast")
CSV_KEY = asset_key("campaign_csv_exports")

# Computed every night and every Monday; a few hours late counts as stale.
DAILY_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=30))
WEEKLY_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=8))

DAILY_METADATA = _metadata(
    "daily_campaign_rollup",
    [TIME_ZONE, DAY, CAMPAIGN, PHASE, *MEASURES, COMPUTED_AT],
    CAMPAIGN_METRICS.key,
)
WEEKLY_METADATA = _metadata(
    "weekly_campaign_rollup",
    [TIME_ZONE, WEEK, CAMPAIGN, PHASE, *MEASURES, COMPUTED_AT, *CHANGES],
    CAMPAIGN_METRICS.key,
)
# Each materialization reads the column descriptions from the database.
_AS_THEY_ARE = (
    *("day", "runs", "agents_total", "agents_successful", "success_rate_pct"),
    *("assets_generated", "tokens_in", "tokens_out", "cost_usd", "cost_per_run_usd"),
    *("latency_avg_ms", "latency_p95_worst_ms", "latency_p95_median_ms"),
    "slo_breach_pct",
)
HISTORY_LINEAGE = {name: (name,) for name in _AS_THEY_ARE} | {
    "is_computed": ("day",),
    "runs_avg_7d": ("runs",),
    "success_rate_7d_pct": ("agents_successful", "agents_total"),
    "assets_generated_avg_7d": ("assets_generated",),
    "tokens_in_avg_7d": ("tokens_in",),
    "tokens_out_avg_7d": ("tokens_out",),
    "cost_avg_7d_usd": ("cost_usd",),
    "latency_avg_7d_ms": ("latency_avg_ms", "agents_total"),
    "day_before": ("day",),
    "runs_before": ("runs",),
    "success_rate_before_pct": ("success_rate_pct",),
    "assets_generated_before": ("assets_generated",),
    "tokens_in_before": ("tokens_in",),
    "tokens_out_before": ("tokens_out",),
    "cost_before_usd": ("cost_usd",),
    "latency_avg_before_ms": ("latency_avg_ms",),
}

_CHECK_WORDS = {
    MATCHES_RAW_ROWS: "The sums of the recomputed days or weeks, per campaign and in "
    "total, equal those of the raw rows from an independent query.",
    NO_GAP: "No day or week is missing between the first and the last computed one.",
    NO_IMPOSSIBLE_VALUE: "In the recomputed days, no raw row has more successful agents "
    "than agents, or a count, cost or latency that is negative or not a finite number.",
    NO_ROW_OUTSIDE_HISTORY: "Every raw row has a date, neither before the first day of "
    "the rollups nor in the future. The rollups leave out other rows.",
    NO_COST_JUMP: "No recomputed day costs more than twice the median of the last eight "
    "days of the same weekday.",
    WEEKS_EQUAL_DAYS: "Weekly sums equal the sums of their days, where both were computed "
    "from the same raw rows.",
}
SEVERITIES = {
    MATCHES_RAW_ROWS: dg.AssetCheckSeverity.ERROR,
    WEEKS_EQUAL_DAYS: dg.AssetCheckSeverity.ERROR,
    NO_GAP: dg.AssetCheckSeverity.ERROR,
    NO_IMPOSSIBLE_VALUE: dg.AssetCheckSeverity.WARN,
    NO_ROW_OUTSIDE_HISTORY: dg.AssetCheckSeverity.WARN,
    NO_COST_JUMP: dg.AssetCheckSeverity.WARN,
}
DAILY_CHECK_SPECS = [
    dg.AssetCheckSpec(name, asset=DAILY_KEY, description=_CHECK_WORDS[name])
    for name in DAILY_CHECKS
]
WEEKLY_CHECK_SPECS = [
    dg.AssetCheckSpec(name, asset=WEEKLY_KEY, description=_CHECK_WORDS[name])
    for name in WEEKLY_CHECKS
]
