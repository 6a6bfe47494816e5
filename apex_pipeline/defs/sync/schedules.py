"""The schedule of the sync."""

import dagster as dg

from apex_pipeline.defs.pool_limits import ensure_pool_limits
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_job import (
    NOTHING_PENDING,
    active_sync,
    nothing_to_do,
    sync_campaign_metrics,
)
from apex_pipeline.defs.sync_specs import DELIVERED
from apex_pipeline.errors import ApexError

# A tick must end within Dagster's limit of 60 s, so it waits less than a run does.
_PATIENCE_SECONDS = 10.0


@dg.schedule(
    job=sync_campaign_metrics,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, if rows are pending and no sync is running.",
)
def sync_every_five_minutes(
    context: dg.ScheduleEvaluationContext, services: Services
) -> dg.RunRequest | dg.SkipReason:
    """Request a run, or say why not."""
    ensure_pool_limits(context.instance)
    busy = active_sync(context.instance)
    if busy:
        return dg.SkipReason(f"A sync is running: {busy}.")
    reason = no_run_needed(services)
    if reason == NOTHING_PENDING:
        confirm_delivered(context.instance)
    if reason:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def confirm_delivered(instance: dg.DagsterInstance) -> None:
    """Record that Dataverse is up to date although no run was needed.

    Otherwise the asset would become stale in a quiet hour, because a freshness policy
    considers only materializations (1.13.27). The data version stays the same, so
    downstream assets do not become stale. This costs at most 288 events a day, which
    the purge deletes.
    """
    last = instance.get_latest_materialization_event(DELIVERED.key)
    if last is None or last.asset_materialization is None:
        # Nothing has ever been delivered.
        return
    tags = last.asset_materialization.tags or {}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            DELIVERED.key,
            description="No rows were pending; no run was needed.",
            metadata={"dagster/row_count": 0},
            # These tags hold the data version and the versions of its inputs.
            tags={k: tags[k] for k in tags if k.startswith("dagster/")},
        )
    )


def no_run_needed(services: Services) -> str | None:
    """Why a run would have nothing to do; None if it would, or if that is unknown.

    If it is unknown, the run starts and its failure raises the alert.
    """
    try:
        settings = services.settings()
        with services.open_for_a_tick(settings, _PATIENCE_SECONDS) as store:
            return nothing_to_do(store, settings.dataverse)
    except ApexError:
        return None
