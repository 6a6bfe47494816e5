"""The sensor that starts the next sync at once while rows are left."""

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
    description="Starts the next run at once if the last one left rows.",
)
def drain_backlog(
    context: dg.SensorEvaluationContext, services: Services
) -> dg.RunRequest | dg.SkipReason:
    """Request one run after a successful run that delivered rows and left others.

    The `run_key` allows one follow-up per run, so a run without progress is not
    repeated before the schedule's next tick.
    """
    try:
        with services.open_store(
            services.settings(),
            wait_seconds=_PATIENCE_SECONDS,
            statement_seconds=_PATIENCE_SECONDS,
        ) as store:
            last = store.last_runs(1)
    except ApexError as error:
        # The schedule starts a run, whose failure raises the alert.
        return dg.SkipReason(f"The run ledger cannot be read: {error}")
    if not last or last[0].status is not RunStatus.SUCCESS:
        return dg.SkipReason(
            "The last run did not succeed; the schedule starts the next."
        )
    run = last[0]
    # Rows that changed or were locked a moment ago are probably still busy.
    if (run.remaining or 0) <= run.changed + run.locked or not run.delivered:
        return dg.SkipReason("The last run left no rows to deliver now.")
    reason = active_sync(context.instance) or nothing_to_do(services)
    if reason:
        return dg.SkipReason(reason)
    return dg.RunRequest(run_key=f"after-{run.id}")
