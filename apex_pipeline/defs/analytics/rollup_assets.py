"""The assets that analysts read: daily and weekly rollups, and the history."""

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import dagster as dg

from apex_pipeline.analytics.charts.campaign_charts import (
    PERIODS_SHOWN,
    history_picture,
    history_sparkline,
    rollup_picture,
    rollup_sparkline,
)
from apex_pipeline.analytics.rollups.history import (
    PeriodTotal,
    described_columns,
    history,
    totals,
)
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Grain, Periods
from apex_pipeline.analytics.rollups.rollup_checks import refresh_and_check
from apex_pipeline.defs.analytics.analysis_check_results import check_results
from apex_pipeline.defs.analytics.rollup_specs import (
    DAILY_CHECK_SPECS,
    DAILY_FRESHNESS,
    DAILY_KEY,
    DAILY_METADATA,
    DAYS,
    GROUP,
    HISTORY_KEY,
    HISTORY_LINEAGE,
    OWNERS,
    SEVERITIES,
    WEEKLY_CHECK_SPECS,
    WEEKLY_FRESHNESS,
    WEEKLY_KEY,
    WEEKLY_METADATA,
    WEEKS,
)
from apex_pipeline.defs.metadata import image, numbers, table
from apex_pipeline.defs.pool_limits import ANALYSIS_POOL
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.local_days import dates_at

_PREVIEW_ROWS = 7
_HISTORY_VIEW = "campaign_history_90d"


@dg.asset(
    key=DAILY_KEY,
    deps=[CAMPAIGN_METRICS],
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=DAILY_CHECK_SPECS,
    metadata=DAILY_METADATA,
    freshness_policy=DAILY_FRESHNESS,
    group_name=GROUP,
    pool=ANALYSIS_POOL,
    owners=OWNERS,
    kinds={"postgres"},
    description="One row per day, campaign and phase, in UTC and in the business time "
    "zone; `daily_rollup_total` has all campaigns together. Postgres computes any range "
    "of days in one run.",
)
def daily_campaign_rollup(
    context: dg.AssetExecutionContext, services: Services
) -> dg.MaterializeResult:
    """Recompute the run's days."""
    return _materialize(context, services, DAILY)


@dg.asset(
    key=WEEKLY_KEY,
    deps=[CAMPAIGN_METRICS],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=WEEKLY_CHECK_SPECS,
    metadata=WEEKLY_METADATA,
    freshness_policy=WEEKLY_FRESHNESS,
    group_name=GROUP,
    pool=ANALYSIS_POOL,
    owners=OWNERS,
    kinds={"postgres"},
    description="One row per completed ISO week, campaign and phase, with the change from "
    "the week before; `weekly_rollup_total` has all campaigns together. Computed from "
    "raw rows, because medians of days do not add up to weeks.",
)
def weekly_campaign_rollup(
    context: dg.AssetExecutionContext, services: Services
) -> dg.MaterializeResult:
    """Recompute the run's weeks."""
    return _materialize(context, services, WEEKLY)


@dg.asset(
    key=HISTORY_KEY,
    deps=[DAILY_KEY],
    group_name=GROUP,
    pool=ANALYSIS_POOL,
    owners=OWNERS,
    kinds={"postgres"},
    freshness_policy=DAILY_FRESHNESS,
    metadata={
        "dagster/table_name": _HISTORY_VIEW,
        "dagster/column_lineage": dg.TableColumnLineage(
            {
                name: [dg.TableColumnDep(DAILY_KEY, source) for source in sources]
                for name, sources in HISTORY_LINEAGE.items()
            }
        ),
    },
    description="The last 30, 60 and 90 whole days with moving averages and the window "
    "before for comparison: the views `campaign_history_30d`, `_60d` and `_90d`, and the "
    "function `campaign_history(days, zone)` for any length and time zone. Views are "
    "always current; a materialization records their latest values.",
)
def campaign_history(context: dg.AssetExecutionContext, services: Services) -> None:
    """Read the views and record their latest values."""
    with failures():
        settings = services.analysis_settings()
        with services.open_database() as database:
            days = history(database, 90, settings.time_zone)
            columns = described_columns(database, _HISTORY_VIEW)
    computed = [day for day in days if day.is_computed]
    # What a result brings along, Dagster stores a second time, with the step's output.
    context.add_asset_metadata(
        {
            "dagster/row_count": len(days),
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(c.name, c.type, c.description) for c in columns]
            ),
            "last_days": table(
                ("day", "runs", "7 d", "success %", "USD", "7 d", "before"),
                [
                    (
                        day.day,
                        day.runs,
                        day.runs_avg_7d,
                        day.success_rate_pct,
                        day.cost_usd,
                        day.cost_avg_7d_usd,
                        day.cost_before_usd,
                    )
                    for day in days[-_PREVIEW_ROWS:]
                ],
            ),
            "trend": image(history_sparkline(days), "Cost"),
            "picture": image(history_picture(days), "Cost, success rate, tokens"),
            "time_zone": settings.time_zone,
            **numbers(
                {
                    "days_computed": len(computed),
                    "runs": sum(day.runs or 0 for day in computed),
                    "cost_usd": sum(day.cost_usd or Decimal(0) for day in computed),
                }
            ),
        }
    )


def asked_periods(context: dg.AssetExecutionContext, grain: Grain) -> Periods:
    """Return the days or weeks of the run's partition range."""
    keys = context.partition_key_range
    return Periods(grain, date.fromisoformat(keys.start), date.fromisoformat(keys.end))


def shown(periods: Periods) -> Periods:
    """Extend a run's periods backwards to cover what the pictures show."""
    grain = periods.grain
    before = timedelta(days=grain.days * (PERIODS_SHOWN[grain.name] - 1))
    return Periods(grain, min(periods.first, periods.last - before), periods.last)


def today_in(database: Database, zone: str) -> date:
    """The date in a time zone now.

    Raises:
        DatabaseError: One of its kinds.
    """
    (today,) = database.ask(dates_at, datetime.now(UTC), [zone])
    return today


def preview(
    grain: Grain, found: Sequence[PeriodTotal], today: date
) -> dict[str, dg.MarkdownMetadataValue]:
    """Show the newest days or weeks of a time zone as a table, a sparkline and a picture.

    Args:
        grain: Days or weeks.
        found: Their totals, the oldest first.
        today: The date in that time zone.
    """
    # A day may have begun in the other time zone but not in this one.
    begun = [total for total in found if total.label <= today]
    begun = begun[-PERIODS_SHOWN[grain.name] :]
    if not begun:
        return {}
    is_over = grain is WEEKLY or begun[-1].label < today
    rows = [
        (
            total.label,
            total.runs,
            total.success_rate_pct,
            total.cost_usd,
            total.latency_p95_median_ms,
        )
        for total in begun[-_PREVIEW_ROWS:]
    ]
    # A wider table is cut off on a screen of 1440 pixels.
    head = (grain.label, "runs", "success %", "USD", "p95 median ms")
    over = begun if is_over else begun[:-1]
    svg = rollup_picture(grain, begun, None if is_over else today)
    return {
        "preview": table(head, rows),
        "trend": image(rollup_sparkline(grain, over), "Cost"),
        "picture": image(svg, "Cost, success rate, tokens"),
    }


def _materialize(
    context: dg.AssetExecutionContext, services: Services, grain: Grain
) -> dg.MaterializeResult:
    # Dagster writes an event for each partition, each on a connection of its own unless
    # it may gather them: two years of days are then stored in seconds. Read when it
    # writes.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    with failures():
        settings = services.analysis_settings()
        periods = asked_periods(context, grain)
        with services.open_database() as database:
            made = refresh_and_check(database, settings, periods)
            found = totals(database, grain, settings.time_zone, shown(periods))
            today = today_in(database, settings.time_zone)
    by_label = {total.label: total for total in found}
    overview = preview(grain, found, today)
    for label, rows in made.refreshed.rows.items():
        context.add_asset_metadata(
            {
                "dagster/partition_row_count": rows,
                # Attach the preview to one event only; each event stores its own copy.
                **(overview if label == periods.last else {}),
                **_figures(by_label[label]),
            },
            partition_key=label.isoformat(),
        )
    return dg.MaterializeResult(check_results=check_results(made.findings, SEVERITIES))


def _figures(total: PeriodTotal) -> dict[str, float | int]:
    return numbers(
        {
            "runs": total.runs,
            "success_rate_pct": total.success_rate_pct,
            "assets_generated": total.assets_generated,
            "tokens_in": total.tokens_in,
            "tokens_out": total.tokens_out,
            "cost_usd": total.cost_usd,
            "latency_p95_median_ms": total.latency_p95_median_ms,
        }
    )
