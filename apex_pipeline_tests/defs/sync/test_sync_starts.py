"""What starts a sync, and what holds one back: the schedule and the sensor."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.defs.analytics.rollup_specs import DAILY_KEY
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync.sync_job import MAX_RUNTIME, active_sync
from apex_pipeline.defs.sync_specs import SYNC_ASSETS
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.sync.pacing_memory import pacing_key
from apex_pipeline_tests.support.dagster_runs import (
    SYNC,
    age,
    instance,
    repository,
    run_job,
    tick,
    variables,
)
from apex_pipeline_tests.support.ends import (
    emulator_settings,
    insert_many,
    marked,
)

__all__ = ["instance", "repository", "variables"]


def drain(repository, instance, cursor=None):
    with dg.build_sensor_context(
        instance=instance,
        cursor=cursor,
        repository_def=repository,
        resources={"services": Services()},
    ) as context:
        return repository.get_sensor_def("sync_on_arrival").evaluate_tick(context)


def test_a_tick_with_nothing_pending_is_skipped(repository, instance, variables):
    data = tick(repository, instance)
    assert data.run_requests == []
    assert data.skip_message == "Nothing is pending."


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


@pytest.mark.parametrize(
    ("selected", "location", "counts"),
    [
        (SYNC_ASSETS, LOCATION, True),
        ([DAILY_KEY], LOCATION, False),
        (SYNC_ASSETS, "another_apex", False),
    ],
)
def test_a_sync_from_an_assets_page_counts_for_the_interval(
    repository, instance, variables, database_url, selected, location, counts
):
    insert_many(database_url, 1)
    run = instance.create_run_for_job(
        repository.get_implicit_global_asset_job_def(),
        tags={"dagster/code_location": location},
        asset_selection=frozenset(selected),
    )
    instance.report_run_canceled(run)
    found = drain(repository, instance, "15min")
    assert (found.run_requests == []) is counts
    age(instance, run.run_id, days=16 / 1440)
    assert len(drain(repository, instance, "15min").run_requests) == 1


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
