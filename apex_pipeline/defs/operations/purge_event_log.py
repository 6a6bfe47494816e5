"""Delete our old runs and events, which Dagster itself keeps for ever.

Tables of dagster-postgres 0.29.27 that grow, with their size if runs are kept for 30
days (`benchmarks/dagster_storage.py`, with a sync at every tick):

- `event_logs`: about 0.7 GB. 550 rows an hour, each 1.8 kB with its indexes.
- `asset_check_executions`: about 0.1 GB; `delete_run` does not touch it.
- `runs`, `run_tags` and `asset_event_tags` are deleted with the run or event.
- `job_ticks`: deleted by Dagster as `retention` in dagster.yaml says.
- `snapshots`: one for each version of a job and each selection, and `bulk_actions` with
  `backfill_tags`: one for each backfill. They are deleted with the last of their runs.

All other tables hold one row for each key, pool, daemon, schedule or sensor.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable as Checks,
    AssetEventTagsTable as Tags,
    SqlEventLogStorageTable as Events,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import ColumnElement, Connection, Delete, delete, func, select

from apex_pipeline.audit.events import Action, Event
from apex_pipeline.audit.intents import intended
from apex_pipeline.defs.code_location import OURS, DefinitionsParam, is_our_run
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import SCHEDULED_TAGS
from apex_pipeline.defs.operations.run_leftovers import (
    delete_old_backfills,
    delete_unused_snapshots,
    snapshots_of,
)
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services, author_of
from apex_pipeline.flags_and_launchpad_forms.purge_form import PurgeForm

_BATCH = 200
_FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


@dg.op(config_schema=form_schema(PurgeForm))
def delete_old_runs(
    context: dg.OpExecutionContext,
    definitions: DefinitionsParam,
    services: Services,
) -> None:
    """Delete our finished runs and backfills with all that belongs to them alone.

    What a run delivered stays in `sync_run`. The latest materialization of each asset
    and the latest result of each check are kept.
    """
    with failures():
        form = PurgeForm(**context.op_config)
    before = datetime.now(UTC) - timedelta(days=form.keep_days)
    keys = _asset_keys(definitions())
    event = Event(
        Action.PURGE, author_of(context.run), {"created_before": before.isoformat()}
    )
    with (
        failures(),
        services.open_database() as database,
        intended(database, event) as ending,
    ):
        ending.counts = _delete_old(context.instance, keys, before)
        ending.is_void = not any(ending.counts.values())
    context.add_output_metadata(dict(ending.counts))
    context.log.info(
        "deleted %d runs created before %s",
        ending.counts["runs_deleted"],
        before.date(),
    )


def _delete_old(
    instance: dg.DagsterInstance, keys: set[str], before: datetime
) -> dict[str, int]:
    """Delete, and return how much of each kind there was."""
    runs = _delete_runs(instance, before)
    checks, events = delete_old_events(instance, keys, before)
    return {
        "runs_deleted": len(runs),
        "snapshots_deleted": delete_unused_snapshots(
            instance, set().union(*map(snapshots_of, runs))
        ),
        "backfills_deleted": delete_old_backfills(instance, keys, before),
        "check_results_deleted": checks,
        "events_deleted": events,
    }


def _asset_keys(definitions: dg.Definitions) -> set[str]:
    """Keys of all assets, as the storage writes them."""
    graph = definitions.get_repository_def().asset_graph
    return {key.to_string() for key in graph.get_all_asset_keys()}


def _delete_runs(instance: dg.DagsterInstance, before: datetime) -> list[dg.DagsterRun]:
    """Delete our finished runs and return them.

    `dagster asset materialize` creates runs of the implicit job without our location's
    tag. Other code locations have an implicit job too, so each run is checked.
    """
    tagged = dg.RunsFilter(tags=OURS, statuses=_FINISHED, created_before=before)
    implicit = dg.RunsFilter(
        job_name=IMPLICIT_ASSET_JOB_NAME, statuses=_FINISHED, created_before=before
    )
    return _delete_where(instance, tagged, lambda _: True) + _delete_where(
        instance, implicit, is_our_run
    )


def _delete_where(
    instance: dg.DagsterInstance,
    asked: dg.RunsFilter,
    is_ours: Callable[[dg.DagsterRun], bool],
) -> list[dg.DagsterRun]:
    deleted: list[dg.DagsterRun] = []
    cursor = None
    while runs := instance.get_runs(asked, cursor=cursor, limit=_BATCH):
        # Page on from a run that stays: a deleted run cannot be a cursor.
        kept = [run.run_id for run in runs if not is_ours(run)]
        for run in runs:
            if run.run_id not in kept:
                instance.delete_run(run.run_id)
                deleted.append(run)
        cursor = kept[-1] if kept else cursor
    return deleted


def delete_old_events(
    instance: dg.DagsterInstance, keys: Collection[str], before: datetime
) -> tuple[int, int]:
    """Delete what `delete_run` leaves behind for these assets.

    That is check results, and events reported outside any run, such as an asset that
    became stale.

    Args:
        instance: Instance whose storage to purge.
        keys: Asset keys in the storage's spelling.
        before: Timezone-aware; older entries are deleted.

    Returns:
        Number of check results and number of events deleted.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0, 0
    with storage.index_connection() as connection:
        latest = select(func.max(Checks.c.id)).group_by(
            Checks.c.asset_key, Checks.c.check_name
        )
        checks = _delete(
            connection,
            delete(Checks).where(
                Checks.c.asset_key.in_(keys),
                # The column holds UTC without a time zone.
                Checks.c.create_timestamp < before.replace(tzinfo=None),
                Checks.c.id.not_in(latest),
            ),
        )
        old: list[ColumnElement[bool]] = [
            Events.c.run_id == RUNLESS_RUN_ID,
            Events.c.asset_key.in_(keys),
            Events.c.timestamp < before.replace(tzinfo=None),
        ]
        connection.execute(
            delete(Tags).where(Tags.c.event_id.in_(select(Events.c.id).where(*old)))
        )
        return checks, _delete(connection, delete(Events).where(*old))


def _delete(connection: Connection, statement: Delete) -> int:
    return connection.execute(statement).rowcount


@dg.job(
    executor_def=dg.in_process_executor,
    description="Deletes our finished runs and backfills, their events, snapshots and "
    "check results after 30 days. Runs weekly. Start it by hand with fewer `keep_days` if Dagster's storage "
    "grows too large.",
    tags=SCHEDULED_TAGS,
)
def purge_event_log() -> None:
    delete_old_runs()


weekly_purge = dg.ScheduleDefinition(
    name="purge_event_log_weekly",
    job=purge_event_log,
    cron_schedule="30 3 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Sundays at 03:30 UTC.",
)
