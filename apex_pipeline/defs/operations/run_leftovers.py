"""Delete what Dagster leaves behind when runs are deleted: their snapshots and backfills.

Dagster 1.13.27 has no call for either.
"""

import re
import zlib
from collections.abc import Collection, Mapping
from datetime import datetime

import dagster as dg
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    PartitionBackfill,
)
from dagster._core.storage.runs.schema import (
    BackfillTagsTable as Tags,
    BulkActionsTable as Backfills,
    RunsTable as Runs,
    SnapshotsTable as Snapshots,
)
from dagster._core.storage.runs.sql_run_storage import SnapshotType, SqlRunStorage
from dagster._core.storage.tags import BACKFILL_ID_TAG
from sqlalchemy import Connection, delete, or_, select

from apex_pipeline.defs.code_location import LOCATION

_PARENT = re.compile(rb'"parent_snapshot_id": ?"(\w+)"')


def snapshots_of(run: dg.DagsterRun) -> set[str]:
    """Ids of the snapshots of a run's job and plan."""
    named = (run.job_snapshot_id, run.execution_plan_snapshot_id)
    return {each for each in named if each is not None}


def delete_unused_snapshots(instance: dg.DagsterInstance, ids: Collection[str]) -> int:
    """Delete those of these snapshots, and of their parents, that no run uses.

    Two runs, also of two code locations, share a snapshot when their jobs are alike. A
    run of a selection of assets has a job of its own, whose parent is the whole job.

    Args:
        instance: Instance whose storage to purge.
        ids: Snapshots of runs that are deleted.

    Returns:
        How many were deleted.
    """
    storage = instance.run_storage
    if not ids or not isinstance(storage, SqlRunStorage):
        return 0
    with storage.connect() as connection:
        parents = _parents(connection)
        candidates = {*ids, *(parents[each] for each in ids if each in parents)}
        unused = {each for each in candidates if not _is_used(connection, each)}
        unused -= {parents[each] for each in parents if each not in unused}
        gone = delete(Snapshots).where(Snapshots.c.snapshot_id.in_(unused))
        return connection.execute(gone).rowcount


def _parents(connection: Connection) -> Mapping[str, str]:
    """Each snapshot of a job that selects from another, to the snapshot of that."""
    found = connection.execute(
        select(Snapshots.c.snapshot_id, Snapshots.c.snapshot_body).where(
            Snapshots.c.snapshot_type == SnapshotType.PIPELINE.value
        )
    )
    named = ((key, _PARENT.search(zlib.decompress(body))) for key, body in found)
    return {key: match[1].decode() for key, match in named if match is not None}


def _is_used(connection: Connection, snapshot: str) -> bool:
    """Whether a run names it; the snapshot of a plan is in the run's body alone."""
    named = or_(Runs.c.snapshot_id == snapshot, Runs.c.run_body.contains(snapshot))
    return (
        connection.execute(select(Runs.c.id).where(named).limit(1)).first() is not None
    )


def delete_old_backfills(
    instance: dg.DagsterInstance, keys: Collection[str], before: datetime
) -> int:
    """Delete our finished backfills of which no run is left.

    Args:
        instance: Instance whose storage to purge.
        keys: Our asset keys in the storage's spelling.
        before: Timezone-aware; younger backfills stay.

    Returns:
        How many were deleted.
    """
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        return 0
    asked = BulkActionsFilter(
        statuses=BULK_ACTION_TERMINAL_STATUSES, created_before=before
    )
    gone = [
        each.backfill_id
        for each in instance.get_backfills(asked)
        if _is_ours(each, keys) and not _has_runs(instance, each)
    ]
    with storage.connect() as connection:
        connection.execute(delete(Tags).where(Tags.c.backfill_id.in_(gone)))
        connection.execute(delete(Backfills).where(Backfills.c.key.in_(gone)))
    return len(gone)


def _is_ours(backfill: PartitionBackfill, keys: Collection[str]) -> bool:
    origin = backfill.partition_set_origin
    if origin is not None:
        location = origin.repository_origin.code_location_origin.location_name
        return location == LOCATION
    selected = backfill.asset_selection or ()
    return bool(selected) and all(key.to_string() in keys for key in selected)


def _has_runs(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> bool:
    named = dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill.backfill_id})
    return bool(instance.get_run_records(named, limit=1))
