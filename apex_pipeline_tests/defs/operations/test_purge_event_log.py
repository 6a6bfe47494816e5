"""The job that purges old runs, on a real storage."""

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from apex_pipeline.definitions import defs
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.sync_specs import SYNC_ASSETS
from apex_pipeline_tests.support.dagster_runs import (
    age,
    freshened_at,
    instance,
    repository,
    run_job,
    tick,
    variables,
)
from apex_pipeline_tests.support.ends import (
    insert_many,
)

__all__ = ["instance", "repository", "variables"]


def tables_with(instance, run_id):
    """Tables of the storage that hold anything of a run."""
    with instance.run_storage.connect() as connection:
        holders = connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.columns"
            " WHERE column_name = 'run_id' AND table_schema = 'public'"
        ).scalars()
        return {
            table
            for table in holders.all()
            if connection.exec_driver_sql(
                f"SELECT count(*) FROM {table} WHERE run_id = %s", (run_id,)
            ).scalar()
        }


def purge(instance):
    job = defs().resolve_job_def("purge_event_log")
    assert job.execute_in_process(instance=instance).success


def test_old_runs_are_purged_and_young_ones_kept(
    repository, instance, variables, database_url
):
    insert_many(database_url, 1)
    old, young = run_job(instance), run_job(instance)
    age(instance, old.run_id)
    assert tables_with(instance, old.run_id) >= {"runs", "asset_check_executions"}
    kept = tables_with(instance, young.run_id)
    tick(repository, instance)
    age(instance, "")
    purge(instance)
    assert tables_with(instance, old.run_id) == set()
    assert tables_with(instance, young.run_id) == kept
    # What a quiet tick had reported outside any run.
    assert tables_with(instance, "") == set()
    assert freshened_at(instance) is not None


def test_the_latest_result_of_a_check_survives_its_run(instance, variables):
    old = run_job(instance)
    age(instance, old.run_id)
    purge(instance)
    assert tables_with(instance, old.run_id) == {"asset_check_executions"}


def test_runs_of_other_code_locations_are_not_purged(instance, variables):
    job = defs().resolve_job_def("show_status")
    theirs = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"dagster/code_location": "another_team"},
    )
    unnamed = instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS)
    for run in (theirs, unnamed):
        age(instance, run.run_id)
    purge(instance)
    assert instance.get_run_by_id(theirs.run_id) is not None
    assert instance.get_run_by_id(unnamed.run_id) is not None


def stored(instance, statement, *values):
    storage = instance.run_storage
    with storage.connect() as connection:
        return set(connection.exec_driver_sql(statement, values).scalars())


SNAPSHOTS = "SELECT snapshot_id FROM snapshots"


def of_selection(instance, *, tags):
    """A finished run of some assets of our job, as the UI creates it."""
    job = defs().resolve_job_def("sync_campaign_metrics")
    some = job.get_subset(asset_selection=set(SYNC_ASSETS))
    run = instance.create_run_for_job(
        some, status=dg.DagsterRunStatus.SUCCESS, tags=dict(tags)
    )
    assert run.job_snapshot_id != job.get_job_snapshot_id()
    return run


def test_snapshots_go_with_the_last_run_that_uses_them(instance, variables):
    job = defs().resolve_job_def("show_status")
    ours = {"dagster/code_location": LOCATION}
    before = stored(instance, SNAPSHOTS)
    first = of_selection(instance, tags=ours)
    alone = stored(instance, SNAPSHOTS) - before
    # The job, its parent and the plan.
    assert len(alone) == 3
    shared = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.SUCCESS, tags=ours
    )
    theirs = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"dagster/code_location": "another_team"},
    )
    used = {theirs.job_snapshot_id, theirs.execution_plan_snapshot_id}
    second = of_selection(instance, tags=ours)
    for run in (first, shared, theirs):
        age(instance, run.run_id)
    purge(instance)
    assert instance.get_run_by_id(first.run_id) is None
    assert stored(instance, SNAPSHOTS) >= alone | used
    age(instance, second.run_id)
    purge(instance)
    left = stored(instance, SNAPSHOTS)
    assert left & alone == set()
    assert left >= used
    assert instance.get_job_snapshot(theirs.job_snapshot_id)


def backfill(instance, name, *keys, status=BulkActionStatus.COMPLETED_SUCCESS):
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=name,
            status=status,
            from_failure=False,
            tags={"user": "somebody"},
            backfill_timestamp=0.0,
            asset_selection=[*map(dg.AssetKey, keys)],
            serialized_asset_backfill_data="{}",
        )
    )


def test_backfills_go_when_no_run_of_theirs_is_left(instance, variables):
    daily = "daily_campaign_rollup"
    backfill(instance, "old", daily)
    backfill(instance, "running", daily, status=BulkActionStatus.REQUESTED)
    backfill(instance, "theirs", "orders")
    backfill(instance, "both", daily, "orders")
    backfill(instance, "used", daily)
    job = defs().resolve_job_def("show_status")
    run = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"dagster/code_location": LOCATION, "dagster/backfill": "used"},
    )
    purge(instance)
    kept = {"running", "theirs", "both", "used"}
    assert stored(instance, "SELECT key FROM bulk_actions") == kept
    assert stored(instance, "SELECT backfill_id FROM backfill_tags") == kept
    age(instance, run.run_id)
    purge(instance)
    assert stored(instance, "SELECT key FROM bulk_actions") == kept - {"used"}
