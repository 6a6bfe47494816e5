"""What the rollups are in Dagster: partitions, columns, lineage, checks."""

import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from apex_pipeline.analytics.rollups.columns import (
    CAMPAIGN,
    CHANGES,
    COMPUTED_AT,
    DAY,
    MEASURES,
    PHASE,
    TIME_ZONE,
    WEEK,
    Change,
    Column,
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
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS
from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    UTC_ZONE,
    load_analysis_settings,
)

GROUP = "analysis"
OWNERS = ["team:apex-data"]

# The parameter is years old, and the only way to make a range of days in one run.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)


def cut(
    environment: Mapping[str, str],
) -> tuple[dg.DailyPartitionsDefinition, dg.WeeklyPartitionsDefinition]:
    """Days and weeks since the history began, labels of dates for every time zone.

    A day is there when it has begun in one of the two time zones, an ISO week, by its
    Monday, when it is over in both.

    A variable that is malformed must not take the sync down with it. It fails each run
    of the rollups, which says what is wrong.
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
    """Whether a day ever begins earlier there than in UTC.

    London is ahead in summer alone. A time zone that is ahead for one part of the year
    is not behind in the other, and this process may outlive the change.
    """
    year = datetime.now(UTC).year
    offsets = (datetime(year, m, 1, tzinfo=ZoneInfo(zone)).utcoffset() for m in (1, 7))
    return any(offset is not None and offset.total_seconds() > 0 for offset in offsets)


DAYS, WEEKS = cut(os.environ)
LAST_ZONE = WEEKS.timezone
"""The time zone, of the two, in which a day ends last."""


def _metadata(
    table: str, columns: Sequence[Column | Change], upstream: dg.AssetKey
) -> dict[str, Any]:
    measures = {measure.name: measure for measure in MEASURES}
    lineage = {}
    for column in columns:
        source = measures[column.of] if isinstance(column, Change) else column
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


DAILY_KEY = dg.AssetKey("daily_campaign_rollup")
WEEKLY_KEY = dg.AssetKey("weekly_campaign_rollup")
HISTORY_KEY = dg.AssetKey("campaign_history")
FORECAST_KEY = dg.AssetKey("cost_forecast")
CSV_KEY = dg.AssetKey("campaign_csv_exports")

# Made every night, and every Monday; late by some hours, somebody should see it.
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
# The columns' descriptions come from the database, with each materialization.
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
    MATCHES_RAW_ROWS: "The sums of the days or weeks just made, by campaign and all "
    "together, are those of the raw rows, added up another way.",
    NO_GAP: "No day or week is missing between the first and the last that is computed.",
    NO_IMPOSSIBLE_VALUE: "No raw row of the days just made has more successful agents "
    "than agents, or a count, cost or latency that is negative or not a finite number.",
    NO_ROW_OUTSIDE_HISTORY: "No raw row is dated before the first day of the rollups, in "
    "the future, or not at all: such rows are in none of them.",
    NO_COST_JUMP: "No day just made costs more than twice what such weekdays mostly "
    "cost, by the median of the last eight.",
    WEEKS_EQUAL_DAYS: "What adds up from days to weeks does, where both were made of the "
    "same raw rows.",
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
