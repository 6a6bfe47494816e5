"""The jobs that compute rollups, and their schedules.

A run gets its range of partitions from tags, so any number of days is one run and one
statement. These runs neither wait for a sync nor delay one.
"""

from datetime import date

import dagster as dg

from apex_pipeline.defs.analytics.rollup_specs import (
    CSV_KEY,
    DAILY_KEY,
    DAYS,
    FORECAST_KEY,
    HISTORY_KEY,
    LAST_ZONE,
    WEEKLY_KEY,
    WEEKS,
)
from apex_pipeline.defs.code_location import OURS, asset_name
from apex_pipeline.defs.job_tags import ACTIVE, ANALYSIS_TAGS, SCHEDULED_TAGS

_TRAILING_DAYS = 7
_TRAILING_WEEKS = 2
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"

refresh_daily_rollups = dg.define_asset_job(
    "refresh_daily_rollups",
    selection=dg.AssetSelection.assets(DAILY_KEY, HISTORY_KEY, FORECAST_KEY, CSV_KEY),
    description="Recomputes days from their raw rows, then the history, the cost forecast "
    "and the CSV files: every night, after syncs, and when rows arrive late. Start it by "
    "hand to recompute any range of days.",
    executor_def=dg.in_process_executor,
    tags=SCHEDULED_TAGS | ANALYSIS_TAGS,
)
refresh_weekly_rollups = dg.define_asset_job(
    "refresh_weekly_rollups",
    selection=dg.AssetSelection.assets(WEEKLY_KEY),
    description="Recomputes weeks from their raw rows: on Mondays, and when rows arrive "
    "late. Start it by hand to recompute any range of weeks.",
    executor_def=dg.in_process_executor,
    tags=SCHEDULED_TAGS | ANALYSIS_TAGS,
)


def range_tags(first: date | str, last: date | str) -> dict[str, str]:
    """Run tags for the partitions from *first* to *last*."""
    return {_RANGE_START: str(first), _RANGE_END: str(last)}


def active_refresh(instance: dg.DagsterInstance) -> str | None:
    """Describe a refresh that is queued or running; None if there is none.

    Includes runs that materialize daily or weekly rollups without a job of ours, as a
    backfill from an asset's page does.
    """
    asked = dg.RunsFilter(tags=OURS, statuses=ACTIVE)
    for run in instance.get_runs(asked):
        if work := _refreshed(run):
            return f"{work} {run.run_id[:8]} is running"
    return None


def _refreshed(run: dg.DagsterRun) -> str | None:
    """Name the refresh that a run is; None if it is none."""
    if run.job_name in {refresh_daily_rollups.name, refresh_weekly_rollups.name}:
        return run.job_name
    made = {DAILY_KEY, WEEKLY_KEY} & (run.asset_selection or frozenset())
    names = sorted(map(asset_name, made))
    return f"a refresh of {' and '.join(names)}" if names else None


@dg.schedule(
    job=refresh_daily_rollups,
    cron_schedule="30 2 * * *",
    # The time zone where the day ends last: yesterday is over in both.
    execution_timezone=LAST_ZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"At 02:30: the last {_TRAILING_DAYS} days and today, in one run.",
)
def refresh_daily_rollups_nightly(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest:
    """Recompute the trailing days, whether or not rows arrived late."""
    keys = DAYS.get_partition_keys(current_time=context.scheduled_execution_time)
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags=range_tags(keys[-_TRAILING_DAYS - 1], keys[-1]),
    )


@dg.schedule(
    job=refresh_weekly_rollups,
    cron_schedule="30 3 * * 1",
    execution_timezone=LAST_ZONE,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Mondays at 03:30: the last {_TRAILING_WEEKS} weeks, in one run.",
)
def refresh_weekly_rollups_mondays(
    context: dg.ScheduleEvaluationContext,
) -> dg.RunRequest:
    """Recompute the week that has ended and the one before it."""
    keys = WEEKS.get_partition_keys(current_time=context.scheduled_execution_time)
    return dg.RunRequest(
        run_key=context.scheduled_execution_time.isoformat(),
        tags=range_tags(keys[-_TRAILING_WEEKS], keys[-1]),
    )
