"""A run of the sync on a real Dagster instance: what it records, and its checks."""

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.data_version import (
    CachingStaleStatusResolver,
    StaleStatus,
)
from dagster._core.loader import LoadingContextForTest

from apex_pipeline.definitions import defs
from apex_pipeline.defs.reconcile.reconciliation import RECONCILIATION
from apex_pipeline.defs.sync.sync_assets import SKIPPED_TAG, preview_table
from apex_pipeline.defs.sync_specs import SYNC_ASSETS
from apex_pipeline_tests.support.dagster_runs import (
    failure,
    freshened_at,
    instance,
    repository,
    run_job,
    tick,
    variables,
)
from apex_pipeline_tests.support.ends import (
    campaign_row,
    delivered,
    execute,
    insert,
    insert_many,
    marked,
)

__all__ = ["instance", "repository", "variables"]


def test_a_run_delivers_and_tells_what_it_did(
    instance, variables, emulator, database_url
):
    insert_many(database_url, 250)
    result = run_job(instance)
    assert result.success
    assert delivered(emulator) == marked(database_url)
    counts = materialized(result)
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


def test_what_a_run_tells_is_stored_once(instance, variables, database_url):
    insert_many(database_url, 3)
    outputs = [
        event.event_specific_data
        for event in run_job(instance).all_events
        if event.event_type is dg.DagsterEventType.STEP_OUTPUT
    ]
    assert len(outputs) == 6
    assert [output.metadata for output in outputs] == [{}] * 6


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


def materialized(result):
    """Metadata of each asset that a run materialized."""
    return {
        event.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def test_a_quarantine_that_cannot_be_read_is_not_said_to_be_empty(
    instance, variables, emulator, database_url
):
    insert_many(database_url, 1)
    execute(database_url, "ALTER VIEW quarantined_campaign_metrics RENAME TO gone")
    emulator.fault("status", status=403, count=1000, path="UpsertMultiple")
    result = run_job(instance)
    assert not result.success
    assert "Give its application user a role" in failure(result)
    checks = [each.check_name for each in result.get_asset_check_evaluations()]
    assert checks == ["delivery_complete"]
    assert "quarantined_campaign_metrics" not in materialized(result)


@pytest.mark.parametrize("of", ["Postgres", "Dataverse"])
def test_a_run_that_failed_before_it_read_says_nothing_of_rows(
    instance, variables, database_url, monkeypatch, of
):
    insert_many(database_url, 1)
    if of == "Postgres":
        execute(database_url, "ALTER VIEW campaign_metrics_pending RENAME TO gone")
    else:
        monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    result = run_job(instance)
    assert not result.success
    assert [*materialized(result)] == ["quarantined_campaign_metrics"]
    (check,) = [
        each
        for each in result.get_asset_check_evaluations()
        if each.check_name == "delivery_complete"
    ]
    known = {"rows_remaining", "oldest_pending_age_seconds"}
    found = {*check.metadata} - {"failure"}
    assert found == (set() if of == "Postgres" else known)


def test_a_run_without_requests_has_no_hit_rate_of_tokens(instance, variables):
    found = materialized(run_job(instance))
    assert found["dataverse_campaign_metrics"]["requests"] == 0
    assert "token_hit_rate_pct" not in found["dataverse_campaign_metrics"]
    assert found["pending_campaign_metrics"] == {
        "dagster/row_count": 0,
        "oldest_pending_age_seconds": 0.0,
    }


def test_rows_whose_age_says_nothing_are_not_said_to_be_new(
    instance, variables, database_url
):
    insert(database_url, [campaign_row(phase="x" * 17)])
    assert run_job(instance).success
    execute(
        database_url, "UPDATE campaign_metrics_quarantine SET next_attempt_at = now()"
    )
    found = materialized(run_job(instance))["pending_campaign_metrics"]
    assert found == {"dagster/row_count": 1}


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
    assert described.description.startswith(f"`{next(iter(config))}`")


def stale(repository, instance):
    """Assets that the UI shows as not up to date, with what it says."""
    context = LoadingContextForTest(instance)
    resolver = CachingStaleStatusResolver(instance, repository.asset_graph, context)
    return {
        key.to_user_string(): [cause.reason for cause in resolver.get_stale_causes(key)]
        for key in (*SYNC_ASSETS, RECONCILIATION.key)
        if resolver.get_status(key) is not StaleStatus.FRESH
    }


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


def test_a_run_that_delivers_none_of_the_waiting_rows_keeps_nothing_fresh(
    instance, variables, emulator, database_url
):
    assert run_job(instance).success
    before = freshened_at(instance)
    insert_many(database_url, 3)
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM campaign_metrics FOR UPDATE")
        assert run_job(instance).success
    emulator.fault("status", status=429, retry_after=600, path="UpsertMultiple")
    assert run_job(instance).success
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
