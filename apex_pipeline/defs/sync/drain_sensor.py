"""What starts a sync between two ticks."""

import dagster as dg

from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.schedules import nothing_to_do
from apex_pipeline.defs.sync.sync_job import active_sync, sync_campaign_metrics
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.run_ledger import RunStatus

_INTERVAL_SECONDS = 10
_PATIENCE_SECONDS = 5.0


@dg.sensor(
    job=sync_campaign_metrics,
    minimum_interval_seconds=_INTERVAL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the next run at once, as long as runs end with rows left.",
)
def drain_backlog(
    context: dg.SensorEvaluationContext, services: Services
) -> dg.RunRequest | dg.SkipReason:
    """Follow a successful run that left rows behind; the ledger knows of every run.

    One run follows each such run and no more (`run_key`), so a run that makes no
    progress is not repeated before the next tick.
    """
    try:
        with services.open_store(
            services.settings(),
            wait_seconds=_PATIENCE_SECONDS,
            statement_seconds=_PATIENCE_SECONDS,
        ) as store:
            last = store.last_runs(1)
    except ApexError as error:
        # The schedule starts a run that fails and is seen; a second one adds nothing.
        return dg.SkipReason(f"The ledger cannot be read: {error}")
    if not last or last[0].status is not RunStatus.SUCCESS:
        return dg.SkipReason("The last run did not succeed; the schedule goes on.")
    run = last[0]
    # Rows that changed or were locked a moment ago may well be so still.
    if (run.remaining or 0) <= run.changed + run.locked or not run.delivered:
        return dg.SkipReason("The last run left nothing that another would deliver.")
    reason = active_sync(context.instance) or nothing_to_do(services)
    if reason:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=f"after-{run.id}")
