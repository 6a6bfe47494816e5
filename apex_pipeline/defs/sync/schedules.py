"""When the sync runs by itself."""

from datetime import UTC, datetime

import dagster as dg

from apex_pipeline.defs.pool_limits import ensure_pool_limits
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_job import active_sync, sync_campaign_metrics
from apex_pipeline.defs.sync_specs import DELIVERED
from apex_pipeline.errors import ApexError
from apex_pipeline.sync.run import pacing_key

NOTHING_PENDING = "Nothing is pending."

# A tick must end within Dagster's limit of 60 s; a run has more patience.
_PATIENCE_SECONDS = 10.0


@dg.schedule(
    job=sync_campaign_metrics,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, if rows are pending and no sync is under way.",
)
def sync_every_five_minutes(
    context: dg.ScheduleEvaluationContext, services: Services
) -> dg.RunRequest | dg.SkipReason:
    """Start a run, or say why not."""
    ensure_pool_limits(context.instance)
    busy = active_sync(context.instance)
    if busy:
        return dg.SkipReason(f"A sync is under way: {busy}.")
    reason = nothing_to_do(services)
    if reason == NOTHING_PENDING:
        confirm_delivered(context.instance)
    if reason:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def confirm_delivered(instance: dg.DagsterInstance) -> None:
    """Record that Dataverse is up to date, though no run was needed.

    Or the asset would become stale in a quiet hour. A freshness policy looks at
    materializations alone (1.13.27). The version of the data stays, so nothing after it
    becomes stale. It costs at most 288 events a day, which the purge deletes.
    """
    last = instance.get_latest_materialization_event(DELIVERED.key)
    if last is None or last.asset_materialization is None:
        # Nothing was ever delivered, so there is nothing to be fresh.
        return
    tags = last.asset_materialization.tags or {}
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            DELIVERED.key,
            description="Nothing was waiting; no run was needed.",
            metadata={"dagster/row_count": 0},
            # The version of the data and of its inputs.
            tags={k: tags[k] for k in tags if k.startswith("dagster/")},
        )
    )


def nothing_to_do(services: Services) -> str | None:
    """Why a run would do nothing; None if it would, or if that cannot be told.

    Where it cannot be told, the run is started, so that its failure is seen.
    """
    try:
        settings = services.settings()
        with services.open_store(
            settings,
            wait_seconds=_PATIENCE_SECONDS,
            statement_seconds=_PATIENCE_SECONDS,
        ) as store:
            pause = store.open_pause(pacing_key(settings.dataverse), datetime.now(UTC))
            if pause is not None:
                return f"{pause}."
            return None if store.has_pending() else NOTHING_PENDING
    except ApexError:
        return None
