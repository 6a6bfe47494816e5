"""Provisioning with the command and with the job."""

import json

import dagster as dg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.postgres import migrations
from apex_pipeline_tests.support.apex_command import apex
from apex_pipeline_tests.support.empty_environment import (
    APPLICATION,
    PATH,
    SECRET,
    api,
    application,
    empty_emulator,
    emulator,
    everything,
    made,
    made_once,
    make,
    replace_column,
)
from apex_pipeline_tests.support.ends import environment, insert_many

__all__ = [
    "apex",
    "api",
    "application",
    "empty_emulator",
    "emulator",
    "made",
    "made_once",
    "make",
]


@pytest.fixture
def variables(emulator, empty_database_url, tmp_path):
    return environment(emulator, empty_database_url, tmp_path / "state") | {
        "AZURE_CLIENT_ID": APPLICATION,
        "AZURE_CLIENT_SECRET": SECRET,
        "APEX_ADMIN_TENANT_ID": emulator.tenant_id,
        "APEX_ADMIN_CLIENT_ID": emulator.client_id,
        "APEX_ADMIN_CLIENT_SECRET": emulator.client_secret,
    }


@pytest.mark.slow
def test_provision_alone_does_both_and_the_sync_runs(apex, variables, emulator):
    plan = json.loads(apex("provision", "--plan", "--json").stdout)
    assert plan["database"]["pending"]
    assert len(plan["dataverse"]["changes"]) == 7
    ended = apex("provision")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("applied: 0001")
    created = [line for line in lines if line.startswith("created: ")]
    assert len([line for line in created if "created: role apex_" not in line]) == 7
    assert any("the administrator deleted it" in line for line in lines)
    insert_many(variables["DATABASE_URL"], 3)
    assert apex("sync").stdout.startswith("3 delivered")


@pytest.mark.slow
def test_the_command_shows_then_makes_then_is_content(apex, api):
    plan = apex("provision", "dataverse", "--plan")
    assert (plan.returncode, plan.stderr) == (0, "")
    assert "would be created: table apex_campaignmetrics" in plan.stdout
    assert "apex_costusd (decimal, 5 places)" in plan.stdout
    assert apex("provision", "database").returncode == 0
    assert apex("provision", "dataverse").returncode == 0
    again = apex("provision", "dataverse")
    assert again.stdout.startswith("Dataverse is up to date.\nverified: ")

    replace_column(api, "Integer", "apex_phase")
    plan = apex("provision", "dataverse", "--plan", "--json")
    assert plan.returncode == 1
    assert "apex_phase" in json.loads(plan.stdout)["drifts"][0]
    ended = apex("provision", "dataverse")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("apex: apex_phase is Integer")


def test_nothing_changes_in_dataverse_before_the_audit_trail_can_note_it(apex, api):
    refused(apex, api, "run `apex provision database` first")


def test_nothing_changes_in_dataverse_that_the_audit_trail_cannot_note(
    apex, api, unusable_url
):
    place = unusable_url.rpartition("@")[2]
    refused(apex, api, place, DATABASE_URL=unusable_url)


def refused(apex, api, remedy, **changes):
    """The plan is shown, and then nothing is done."""
    before = everything(api)
    assert apex("provision", "dataverse", "--plan", **changes).returncode == 0
    ended = apex("provision", "dataverse", **changes)
    assert ended.returncode == 1
    assert "Nothing was changed in Dataverse" in ended.stderr
    assert remedy in ended.stderr
    assert everything(api) == before


def test_mistakes_in_the_command(apex):
    assert apex("provision", "--plan", "dataverse").returncode == 2
    ended = apex("provision", APEX_ADMIN_CLIENT_SECRET="")
    assert ended.returncode == 2
    assert "APEX_ADMIN_CLIENT_SECRET must be set" in ended.stderr
    ended = apex("provision", "dataverse", "--plan", APEX_ADMIN_CLIENT_SECRET="wrong")
    assert ended.returncode == 1
    assert "AADSTS7000215" in ended.stderr


def test_the_job_plans_makes_and_fails_with_the_remedy(
    variables, monkeypatch, api, emulator
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    job = defs().resolve_job_def("provision_dataverse")

    def run(**config):
        ops = {"make_dataverse_ready": {"config": config}}
        with dg.DagsterInstance.ephemeral() as instance:
            return job.execute_in_process(
                {"ops": ops}, instance=instance, raise_on_error=False
            )

    migrations.apply(variables["DATABASE_URL"])
    assert run(plan_only=True).success
    assert api.get(PATH).status_code == 404
    assert run().success
    assert api.get(PATH).status_code == 200
    replace_column(api, "Integer", "apex_phase")
    failed = run()
    assert not failed.success
    event = failed.get_step_failure_events()[0]
    assert "apex_phase is Integer" in str(event.step_failure_data.user_failure_data)
