"""When the sync runs by itself."""

from datetime import UTC, datetime

import dagster as dg

from apex_pipeline.defs.jobs import active_sync, sync_campaign_metrics
from apex_pipeline.defs.maintenance import purge_event_log
from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError
from apex_pipeline.sync import pacing_key

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
    busy = active_sync(context.instance)
    if busy:
        return dg.SkipReason(f"A sync is under way: {busy}.")
    reason = nothing_to_do(services)
    if reason:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


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
            retry_at = store.retry_at(pacing_key(settings.dataverse))
            if retry_at is not None and retry_at > datetime.now(UTC):
                return (
                    f"Dataverse asked for no requests before {retry_at:%H:%M:%S} UTC."
                )
            return None if store.has_pending() else "Nothing is pending."
    except ApexError:
        return None


weekly_purge = dg.ScheduleDefinition(
    name="purge_event_log_weekly",
    job=purge_event_log,
    cron_schedule="30 3 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Sundays at 03:30 UTC.",
)
