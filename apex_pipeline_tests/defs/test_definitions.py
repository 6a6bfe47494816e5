"""The code location on a real Dagster instance, whose storage is a real Postgres."""

import os
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.loader import LoadingContextForTest
from dagster_shared.yaml_utils import load_yaml_from_path

from apex_pipeline.definitions import defs
from apex_pipeline.defs.analytics.rollup_specs import DAILY_KEY
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.reconcile.reconciliation import RECONCILIATION
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_assets import SKIPPED_TAG, preview_table
from apex_pipeline.defs.sync.sync_job import MAX_RUNTIME, active_sync
from apex_pipeline.defs.sync_specs import DELIVERED, SYNC_ASSETS
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.settings import DEFAULT_LOCATION
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline_tests.support.dagster_runs import (
    SYNC,
    age,
    instance,
    run_job,
    variables,
)
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    emulator_settings,
    insert,
    insert_many,
    marked,
)

__all__ = ["instance", "variables"]


@pytest.fixture
def repository():
    return defs().get_repository_def()


def tick(repository, instance, at=datetime(2026, 11, 23, 12, 5, tzinfo=UTC)):
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=repository,
        resources={"services": Services()},
    ) as context:
        return repository.get_schedule_def("sync_every_five_minutes").evaluate_tick(
            context
        )


def drain(repository, instance, cursor=None):
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=repository,
        resources={"services": Services()},
    ) as context:
        return repository.get_sensor_def("sync_on_arrival").evaluate_tick(context)


def test_the_code_location_loads():
    dg.Definitions.validate_loadable(defs())


def test_everything_runs_by_default(repository):
    """A deployment that silently does nothing is the fault that this project ends."""
    for schedule in repository.schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING, schedule
    for sensor in repository.sensor_defs:
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING, sensor


def test_names_that_others_rely_on(repository):
    assert {s.name for s in repository.schedule_defs} >= {"sync_every_five_minutes"}
    assert {s.name for s in repository.sensor_defs} >= {"sync_on_arrival"}
    assert {
        key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()
    } >= {
        "campaign_metrics",
        "pending_campaign_metrics",
        "dataverse_campaign_metrics",
        "exported_campaign_metrics",
    }
    schedule = repository.get_schedule_def("sync_every_five_minutes")
    assert schedule.cron_schedule == "*/5 * * * *"


def test_a_run_delivers_and_tells_what_it_did(
    instance, variables, emulator, database_url
):
    insert_many(database_url, 250)
    result = run_job(instance)
    assert result.success
    assert delivered(emulator) == marked(database_url)
    counts = {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }
    assert counts["pending_campaign_metrics"]["dagster/row_count"] == 250
    assert counts["dataverse_campaign_metrics"]["dagster/row_count"] == 250
    assert counts["dataverse_campaign_metrics"]["requests"] == 4
    assert counts["exported_campaign_metrics"]["rows_remaining"] == 0
    preview = counts["dataverse_campaign_metrics"]["last_rows"]
    assert preview.count("\n") == 11
    checks = result.get_asset_check_evaluations()
    assert {(check.check_name, check.passed) for check in checks} == {
        ("delivery_complete", True),
        ("no_rows_quarantined", True),
    }


def test_a_run_with_nothing_to_do_records_no_empty_materialization_of_work(
    instance, variables, store
):
    with store.writer_lock():
        result = run_job(instance)
    assert result.success
    assert result.get_asset_materialization_events() == []
    run = instance.get_run_by_id(result.run_id)
    told = run.tags[SKIPPED_TAG]
    assert told.startswith("another sync holds the writer lock: role apex (")


def test_a_run_that_skips_does_not_hide_an_earlier_failure(
    instance, variables, store, emulator, database_url
):
    insert_many(database_url, 1)
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    run_job(instance)
    with store.writer_lock():
        result = run_job(instance)
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert not checks["delivery_complete"].passed


def test_a_dry_run_records_no_materialization(instance, variables, database_url):
    insert_many(database_url, 3)
    result = run_job(instance, dry_run=True)
    assert result.success
    assert result.get_asset_materialization_events() == []
    assert "3 rows read" in instance.get_run_by_id(result.run_id).tags[SKIPPED_TAG]


def test_a_failed_run_keeps_what_it_did_and_fails_its_check(
    instance, variables, emulator, database_url
):
    insert_many(database_url, 1000)
    emulator.fault("status", status=403, skip=3, count=1000, path="UpsertMultiple")
    result = run_job(instance)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert "Give its application user a role" in described.description
    keys = [e.asset_key for e in result.get_asset_materialization_events()]
    assert len(keys) == 4
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert not checks["delivery_complete"].passed
    assert checks["delivery_complete"].severity is dg.AssetCheckSeverity.ERROR
    assert delivered(emulator) == marked(database_url)


def test_rows_in_quarantine_warn(instance, variables, database_url):
    insert(database_url, [campaign_row(), campaign_row(phase="x" * 17)])
    result = run_job(instance)
    assert result.success
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert not checks["no_rows_quarantined"].passed
    assert checks["no_rows_quarantined"].severity is dg.AssetCheckSeverity.WARN


def test_a_wrong_environment_fails_the_run_with_one_sentence(
    instance, variables, monkeypatch
):
    monkeypatch.delenv("DATAVERSE_RESOURCE")
    result = run_job(instance)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert described.description.startswith("DATABASE_URL is set but")


@pytest.mark.parametrize(
    "config",
    [
        {"rows_per_request": -1},
        {"rows_per_request": 1001},
        {"page_size": 100_000},
        {"time_budget_seconds": -1.0},
        {"limit": -1},
    ],
)
def test_rubbish_in_the_launchpad_fails_the_run_with_one_sentence(
    instance, variables, config
):
    result = run_job(instance, **config)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert described.description.startswith(next(iter(config)))


def test_a_tick_with_nothing_pending_is_skipped(repository, instance, variables):
    data = tick(repository, instance)
    assert data.run_requests == []
    assert data.skip_message == "Nothing is pending."


def stale(repository, instance):
    """Assets that the UI shows as not up to date, with what it says."""
    context = LoadingContextForTest(instance)
    resolver = CachingStaleStatusResolver(instance, repository.asset_graph, context)
    return {
        key.to_user_string(): [cause.reason for cause in resolver.get_stale_causes(key)]
        for key in (*SYNC_ASSETS, RECONCILIATION.key)
        if resolver.get_status(key) is not StaleStatus.FRESH
    }


def freshened_at(instance):
    event = instance.get_latest_materialization_event(DELIVERED.key)
    return event and event.timestamp


def test_no_asset_is_out_of_date_because_the_next_sync_came(
    repository, instance, variables, database_url
):
    insert_many(database_url, 2)
    assert run_job(instance).success
    reconcile = defs().resolve_job_def("reconcile_dataverse")
    assert reconcile.execute_in_process(instance=instance).success
    assert run_job(instance).success
    assert stale(repository, instance) == {}
    before = freshened_at(instance)
    tick(repository, instance)
    assert freshened_at(instance) > before
    assert stale(repository, instance) == {}


def test_a_quiet_tick_keeps_delivery_fresh_and_a_failed_run_does_not(
    repository, instance, variables, emulator, database_url
):
    tick(repository, instance)
    assert freshened_at(instance) is None
    assert run_job(instance).success
    before = freshened_at(instance)
    insert_many(database_url, 1)
    tick(repository, instance)
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    assert not run_job(instance).success
    assert freshened_at(instance) == before


def test_the_check_of_delivery_has_numbers_that_plot(instance, variables, database_url):
    insert_many(database_url, 3)
    (check,) = [
        each
        for each in run_job(instance).get_asset_check_evaluations()
        if each.check_name == "delivery_complete"
    ]
    values = {name: each.value for name, each in check.metadata.items()}
    assert values["rows_delivered"] == 3
    assert values["rows_remaining"] == 0
    assert values["oldest_pending_age_seconds"] > 0


def test_groups_say_what_an_asset_is_for(repository):
    groups: dict[str | None, set[str]] = {}
    for node in repository.asset_graph.asset_nodes:
        groups.setdefault(node.group_name, set()).add(node.key.to_user_string())
    assert {*groups} == {"sync", "analysis", "operations"}
    assert groups["operations"] == {
        "audit_trail",
        "completion_report",
        "dataverse_reconciliation",
    }


def test_every_job_says_what_it_is_and_when_one_needs_it(repository):
    for job in repository.get_all_jobs():
        if not job.name.startswith("__"):
            assert job.tags["kind"] in {"scheduled", "operator command"}, job.name
            assert len(job.description.split(". ")) > 1, job.name
    scheduled = {each.job_name for each in repository.schedule_defs}
    kinds = {each: repository.get_job(each).tags["kind"] for each in scheduled}
    assert {*kinds.values()} == {"scheduled"}


def test_a_tick_with_pending_rows_starts_one_run(
    repository, instance, variables, database_url
):
    insert_many(database_url, 1)
    (request,) = tick(repository, instance).run_requests
    assert request.run_key == "2026-11-23T12:05:00+00:00"
    tags = repository.get_job(SYNC).tags
    assert int(tags["dagster/max_runtime"]) == MAX_RUNTIME.total_seconds()


def test_a_tick_that_cannot_reach_the_database_starts_a_run_that_will_be_seen(
    repository, instance, variables, monkeypatch, unusable_url
):
    monkeypatch.setenv("DATABASE_URL", unusable_url)
    assert len(tick(repository, instance).run_requests) == 1


def test_a_tick_respects_an_open_retry_after_and_names_its_reason(
    repository, instance, variables, emulator, store, database_url
):
    insert_many(database_url, 1)
    until = datetime.now(UTC) + timedelta(minutes=5)
    why = {"paused_by": "HTTP 429"}
    store.ask(
        stored_pacing.save_pacing, pacing_key(emulator_settings(emulator)), why, until
    )
    data = tick(repository, instance)
    assert data.run_requests == []
    assert "no requests before" in data.skip_message
    assert data.skip_message.endswith("UTC (HTTP 429).")


def active_run(instance, created=None):
    job = defs().resolve_job_def(SYNC)
    return instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags=job.tags
    )


def test_a_tick_beside_an_active_run_is_skipped(
    repository, instance, variables, database_url
):
    insert_many(database_url, 1)
    run = active_run(instance)
    data = tick(repository, instance)
    assert data.run_requests == []
    assert f"run {run.run_id[:8]} is STARTED" in data.skip_message


@pytest.mark.parametrize(
    ("selected", "location", "counts"),
    [
        (SYNC_ASSETS, LOCATION, True),
        ([DAILY_KEY], LOCATION, False),
        (SYNC_ASSETS, "another_apex", False),
    ],
)
def test_a_sync_is_known_by_its_assets_and_code_location(
    instance, selected, location, counts
):
    """Materialize in the UI starts Dagster's implicit job, not ours."""
    job = defs().get_repository_def().get_implicit_global_asset_job_def()
    instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/code_location": location},
        asset_selection=frozenset(selected),
    )
    assert (active_sync(instance) is not None) is counts


def test_pools_carry_the_name_of_their_code_location(forked_apex):
    """Or another location's sync would take the only place of ours."""
    ended = forked_apex.run_code(
        "from apex_pipeline.defs.pool_limits import POOL_LIMITS; print(*POOL_LIMITS)",
        env=os.environ | {"DAGSTER_LOCATION_NAME": "another_apex"},
    )
    assert ended.stdout.split() == ["another_apex/writer", "another_apex/analysis"]


def test_a_run_that_lost_its_host_does_not_hold_up_the_others(instance):
    active_run(instance)
    assert active_sync(instance) is not None
    later = datetime.now(UTC) + MAX_RUNTIME + timedelta(minutes=5)
    assert active_sync(instance, now=later) is None


def test_a_run_that_left_rows_is_followed_at_once(
    repository, instance, variables, database_url
):
    insert_many(database_url, 30)
    assert drain(repository, instance).run_requests == []
    run_job(instance, limit=10)
    (request,) = drain(repository, instance).run_requests
    (again,) = drain(repository, instance).run_requests
    assert request.run_key == again.run_key
    run_job(instance)
    assert drain(repository, instance).run_requests == []


def test_a_run_whose_rows_were_all_held_is_not_followed_at_once(
    repository, instance, variables, database_url
):
    insert_many(database_url, 3)
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM campaign_metrics FOR UPDATE")
        assert run_job(instance).success
        assert drain(repository, instance).run_requests == []
    run_job(instance)
    assert len(marked(database_url)) == 3


def test_a_failed_run_is_not_followed_at_once(
    repository, instance, variables, emulator, database_url
):
    insert_many(database_url, 300)
    emulator.fault("status", status=403, skip=1, count=1000, path="UpsertMultiple")
    assert not run_job(instance).success
    assert drain(repository, instance).run_requests == []


def test_arrived_rows_start_no_run_unless_it_is_switched_on(
    repository, instance, variables, database_url
):
    insert_many(database_url, 1)
    run_job(instance)
    insert_many(database_url, 1)
    assert drain(repository, instance).run_requests == []


@pytest.mark.parametrize("by_cursor", [True, False])
def test_arrived_rows_start_a_run_once_none_has_begun_for_the_interval(
    repository, instance, variables, database_url, monkeypatch, by_cursor
):
    cursor = "15s" if by_cursor else None
    if not by_cursor:
        monkeypatch.setenv("APEX_SYNC_ON_ARRIVAL", "15s")
    assert drain(repository, instance, cursor).skip_message == "Nothing is pending."
    insert_many(database_url, 1)
    assert len(drain(repository, instance, cursor).run_requests) == 1

    first = instance.create_run_for_job(
        defs().resolve_job_def(SYNC), tags=defs().resolve_job_def(SYNC).tags
    )
    instance.report_run_canceled(first)
    found = drain(repository, instance, cursor)
    assert found.run_requests == []
    assert "Rows wait; the last run began" in found.skip_message
    age(instance, first.run_id, days=16 / 86_400)
    assert len(drain(repository, instance, cursor).run_requests) == 1
    active_run(instance)
    assert "is STARTED" in drain(repository, instance, cursor).skip_message


def test_after_a_failed_run_arrived_rows_wait_for_the_schedule(
    repository, instance, variables, emulator, database_url
):
    insert_many(database_url, 1)
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    assert not run_job(instance).success
    found = drain(repository, instance, "5s")
    assert found.run_requests == []
    assert "the schedule starts the next" in found.skip_message


def test_an_unusable_interval_is_named(repository, instance, variables):
    found = drain(repository, instance, "soon")
    assert found.run_requests == []
    assert found.skip_message.startswith("The sensor's cursor must be a duration")


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


def test_a_preview_holds_values_and_nothing_that_markdown_acts_on():
    record = '{"apex_phase":"<b>|[x](y)`"}'
    table = preview_table(
        (record[:-1] + "".join(f',"{name}":1' for name in REST) + "}",)
    )
    assert "<b>" not in table
    assert table.splitlines()[2].count("|") == 14


REST = [
    "apex_campaignid",
    "apex_runid",
    "apex_agentstotal",
    "apex_agentssuccessful",
    "apex_assetsgenerated",
    "apex_tokensin",
    "apex_tokensout",
    "apex_costusd",
    "apex_latencyp95ms",
    "apex_latencyavgms",
    "apex_successrate",
    "apex_createdat",
]


def test_dg_and_workspace_name_the_same_code_location():
    """`[tool.dg]` goes before workspace.yaml, so a difference would rename the location."""
    project = Path(__file__).parents[2]
    dg_project = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["dg"]
    workspace = load_yaml_from_path(str(project / "workspace.yaml"))
    assert isinstance(workspace, dict)
    (loaded,) = workspace["load_from"]
    assert loaded["python_module"] == {
        "module_name": dg_project["project"]["code_location_target_module"],
        "location_name": dg_project["project"]["code_location_name"],
    }
    assert LOCATION == DEFAULT_LOCATION
    assert loaded["python_module"]["location_name"] == LOCATION


def test_dagsters_commands_name_the_variable_that_is_missing_in_a_sentence(tmp_path):
    """Without DAGSTER_HOME they read the dagster.yaml of the folder that they run in."""
    project = Path(__file__).parents[2]
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(project / name, tmp_path)
    unset = {"DAGSTER_HOME", "DAGSTER_POSTGRES_URL"}
    ended = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name not in unset},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "Error: DAGSTER_POSTGRES_URL is not set." in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Stack Trace" not in ended.stderr
