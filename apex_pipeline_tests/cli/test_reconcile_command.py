"""Comparing rows with records from the command line and in Dagster."""

import json

import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.writer_lock import WriterLock, try_reconciliation_lock
from apex_pipeline_tests.support.apex_command import apex, variables
from apex_pipeline_tests.support.dagster_runs import instance
from apex_pipeline_tests.support.emulator_server import SET, web_api
from apex_pipeline_tests.support.ends import insert_many, marked

__all__ = ["apex", "instance", "variables"]


@pytest.mark.slow
def test_a_person_finds_and_repairs_damage_by_command(apex, emulator, database_url):
    insert_many(database_url, 40)
    assert apex("sync").returncode == 0
    equal = apex("reconcile")
    assert (equal.returncode, equal.stderr) == (0, "")
    assert "40 rows compared" in equal.stdout
    assert "Rows and records agree." in equal.stdout
    assert "of 25000, the smallest daily entitlement" in equal.stdout

    gone, changed, *_ = sorted(marked(database_url))
    with web_api(emulator) as api:
        api.delete(f"{SET}({gone})")
        api.patch(f"{SET}({changed})", json={"apex_tokensin": 7})
    wrong = apex("reconcile")
    assert wrong.returncode == 1
    assert "missing: 1 (rows marked as exported" in wrong.stdout
    assert gone in wrong.stdout
    assert "tokens_in" in wrong.stdout
    assert "apex reconcile --repair" in wrong.stdout

    repaired = json.loads(apex("reconcile", "--repair", "--json").stdout)
    assert repaired["run"]["repaired"] == 2
    assert repaired["settled"] is True
    assert repaired["standing"]["requests_24h"] > repaired["run"]["requests"] > 0
    assert len(marked(database_url)) == 38


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--days", "0"), "0 is not in the range"),
        (("--days", "x'--"), "is not a valid integer"),
        (
            ("--days", "3", "--adopt"),
            "--days cannot be combined with --full or --adopt",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(apex, arguments, told):
    ended = apex("reconcile", *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr


def test_half_a_configuration_is_one(apex):
    ended = apex("reconcile", DATAVERSE_RESOURCE=None)
    assert ended.returncode == 2
    assert "DATAVERSE_RESOURCE" in ended.stderr


def test_a_comparison_beside_another_says_so(apex, database_url):
    with Database(database_url, application_name="tests") as database:
        lock = try_reconciliation_lock(database)
        assert isinstance(lock, WriterLock)
        with lock:
            ended = apex("reconcile")
    assert ended.returncode == 1
    assert "another reconciliation is running" in ended.stderr


def test_the_job_in_dagster_tells_what_it_found(
    instance, monkeypatch, variables, emulator, database_url
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    insert_many(database_url, 20)
    assert run_job(instance, "sync_campaign_metrics").success
    (gone,) = list(marked(database_url))[:1]
    with web_api(emulator) as api:
        api.delete(f"{SET}({gone})")

    result = run_job(instance, "reconcile_dataverse")
    assert result.success
    (event,) = result.get_asset_materialization_events()
    told = {name: each.value for name, each in event.materialization.metadata.items()}
    assert (told["found_missing"], told["rows_compared"]) == (1, 20)
    assert told["requests"] == told["requests_24h"] > 0
    assert gone in told["findings"].replace("&#45;", "-")
    checks = {c.check_name: c for c in result.get_asset_check_evaluations()}
    assert {name for name, check in checks.items() if not check.passed} == {
        "no_record_missing"
    }
    assert len(checks) == 5

    config = {"ops": {"dataverse_reconciliation": {"config": {"repair": True}}}}
    repaired = run_job(instance, "reconcile_dataverse", config)
    assert all(check.passed for check in repaired.get_asset_check_evaluations())

    wrong = {"ops": {"dataverse_reconciliation": {"config": {"days": -1}}}}
    refused = run_job(instance, "reconcile_dataverse", wrong)
    (failure,) = [event for event in refused.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data.description
    assert described == "`days` must be 0 to 36500."


def run_job(instance, name, config=None):
    job = defs().resolve_job_def(name)
    return job.execute_in_process(
        instance=instance, run_config=config, raise_on_error=False
    )
