"""Keeping Dagster's own storage small."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

_BATCH = 200
_FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


class PurgeConfig(dg.Config):
    """How long runs are kept."""

    keep_days: int = Field(
        default=30, ge=1, description="Runs that ended longer ago are deleted."
    )


@dg.op
def delete_old_runs(context: dg.OpExecutionContext, config: PurgeConfig) -> None:
    """Delete finished runs with their events.

    Dagster keeps its event log for ever: some 90 rows an hour for this pipeline. What a
    run delivered stays in `sync_run`, and the latest materialization of an asset
    survives the run that made it.
    """
    instance = context.instance
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    deleted = 0
    while True:
        records = instance.get_run_records(
            dg.RunsFilter(statuses=_FINISHED, created_before=before), limit=_BATCH
        )
        if not records:
            break
        for record in records:
            instance.delete_run(record.dagster_run.run_id)
        deleted += len(records)
    context.add_output_metadata({"runs_deleted": deleted})
    context.log.info("deleted %d runs created before %s", deleted, before.date())


@dg.job(
    executor_def=dg.in_process_executor,
    description="Delete finished runs, and their events, after 30 days.",
)
def purge_event_log() -> None:
    """Delete finished runs, and their events, after 30 days."""
    delete_old_runs()
