"""The sync's job, and whether a sync is running.

`flags_and_launchpad_forms/sync_form.py` declares the form that the launchpad shows.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from apex_pipeline.dataverse.environment import REQUEST_TIMEOUT_SECONDS
from apex_pipeline.defs.code_location import OURS
from apex_pipeline.defs.job_tags import ACTIVE, RETRY_LOST_TAGS, SCHEDULED_TAGS
from apex_pipeline.defs.sync_specs import DELIVERED, SYNC_ASSETS
from apex_pipeline.postgres import empty_looks, pending_rows, stored_pacing
from apex_pipeline.postgres.store import Store
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.pacing_memory import pacing_keys
from apex_pipeline.sync.run_options import DEFAULT_TIME_BUDGET_SECONDS

NOTHING_PENDING = "Nothing is pending."

MAX_RUNTIME = timedelta(
    seconds=DEFAULT_TIME_BUDGET_SECONDS + REQUEST_TIMEOUT_SECONDS + 120
)
"""Run monitoring fails a run that takes longer. It is the time budget for reading, plus
the timeout of the last requests, plus time for Dagster to start and end the run."""

# Run monitoring polls every 30 s and gives a run 60 s to stop (dagster.yaml).
_MONITOR_DELAY = timedelta(seconds=120)

sync_campaign_metrics = dg.define_asset_job(
    "sync_campaign_metrics",
    # The assets are one step, so they are selected together.
    selection=dg.AssetSelection.assets(*SYNC_ASSETS),
    description="Upserts pending rows into Dataverse and marks them, every five minutes. "
    "Start it by hand to deliver at once, to validate without sending (`dry_run`), or to "
    "resend a slice of the rows (`since`, `until`, `campaign`).",
    executor_def=dg.in_process_executor,
    tags=SCHEDULED_TAGS
    | RETRY_LOST_TAGS
    | {"dagster/max_runtime": str(int(MAX_RUNTIME.total_seconds()))},
)


def active_sync(
    instance: dg.DagsterInstance, now: datetime | None = None
) -> str | None:
    """Describe our sync that is queued or running; None if there is none.

    Includes runs that materialize the sync's assets without its job.

    A run beyond its maximum runtime has lost its host. It is ignored, because run
    monitoring is about to fail it and others must not wait until then.
    """
    now = now or datetime.now(UTC)
    oldest = now - MAX_RUNTIME - _MONITOR_DELAY
    records = instance.get_run_records(
        dg.RunsFilter(tags=OURS, statuses=ACTIVE, created_after=oldest)
    )
    syncs = (each for each in records if is_sync(each.dagster_run))
    latest = next(syncs, None)
    if latest is None:
        return None
    run, age = latest.dagster_run, now - latest.create_timestamp
    return (
        f"run {run.run_id[:8]} is {run.status.value}, {age.total_seconds():.0f} s old"
    )


def nothing_to_do(store: Store, dataverse: DataverseSettings) -> str | None:
    """Why a sync would have nothing to do: Dataverse asked for a pause, or no row waits.

    Notes that no row waits, for those who tell later since when rows have been waiting.
    """
    pause = store.ask(
        stored_pacing.open_pause, pacing_keys(dataverse), datetime.now(UTC)
    )
    if pause is not None:
        return f"{pause}."
    if store.ask(pending_rows.exists):
        return None
    store.ask(empty_looks.note)
    return NOTHING_PENDING


def is_sync(run: dg.DagsterRun) -> bool:
    """Whether a run is a sync, of its job or from the pages of its assets."""
    selected = run.asset_selection or frozenset()
    return run.job_name == sync_campaign_metrics.name or DELIVERED.key in selected
