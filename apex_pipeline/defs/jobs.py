"""The jobs, and what keeps two syncs from running at once."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from apex_pipeline.dataverse.connect import REQUEST_TIMEOUT_SECONDS
from apex_pipeline.defs.sync_specs import DELIVERED, EXPORTED, PENDING, QUARANTINED
from apex_pipeline.sync import DEFAULT_TIME_BUDGET_SECONDS

MAX_RUNTIME = timedelta(
    seconds=DEFAULT_TIME_BUDGET_SECONDS + REQUEST_TIMEOUT_SECONDS + 120
)
"""After this a run is taken for dead: reading ends with the time budget, the requests
under way with their own, and the rest is Dagster's start and end."""

# Run monitoring looks every 30 s and gives a run 60 s to obey (dagster.yaml).
_MONITOR_DELAY = timedelta(seconds=120)

WRITER_TAGS = {"apex/writer": "dataverse"}
"""`dagster.yaml` lets one run with this tag go at a time."""

ANALYSIS_TAGS = {
    "apex/analysis": "tables",
    # A backfill of ten years takes minutes; what takes longer has lost its host.
    "dagster/max_runtime": "7200",
    # As below; making them again does no harm.
    "dagster/max_retries": "1",
}
"""For whatever is made for analysts: `dagster.yaml` lets two such runs go at a time, so
that a sync always finds a place."""

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

sync_campaign_metrics = dg.define_asset_job(
    "sync_campaign_metrics",
    # All or none: they are one step.
    selection=dg.AssetSelection.assets(
        PENDING.key, DELIVERED.key, EXPORTED.key, QUARANTINED.key
    ),
    description="Upsert pending campaign metrics into Dataverse and mark them.",
    # Half a second instead of six: there is one step, and nothing to isolate it from.
    executor_def=dg.in_process_executor,
    tags=WRITER_TAGS
    | {
        "dagster/max_runtime": str(int(MAX_RUNTIME.total_seconds())),
        # Only for a run whose process was lost (dagster.yaml, run_retries).
        "dagster/max_retries": "1",
    },
)


def active_sync(
    instance: dg.DagsterInstance, now: datetime | None = None
) -> str | None:
    """What is known of a sync that is queued or running; None if there is none.

    A run older than any can be has lost its host: run monitoring is about to fail it,
    and it must not hold up the others until then.
    """
    now = now or datetime.now(UTC)
    oldest = now - MAX_RUNTIME - _MONITOR_DELAY
    records = instance.get_run_records(
        dg.RunsFilter(
            job_name=sync_campaign_metrics.name, statuses=ACTIVE, created_after=oldest
        ),
        limit=1,
    )
    if not records:
        return None
    run = records[0].dagster_run
    age = now - records[0].create_timestamp
    return (
        f"run {run.run_id[:8]} is {run.status.value}, {age.total_seconds():.0f} s old"
    )
