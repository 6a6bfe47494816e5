"""The code location on a real Dagster instance, whose storage is a real Postgres."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
from dagster_shared.yaml_utils import load_yaml_from_path

from apex_pipeline.definitions import defs
from apex_pipeline.defs.code_location import LOCATION
from apex_pipeline.settings import DEFAULT_LOCATION
from apex_pipeline_tests.support.dagster_runs import (
    repository,
)

__all__ = ["repository"]


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


def test_pools_carry_the_name_of_their_code_location(forked_apex):
    """Or another location's sync would take the only place of ours."""
    ended = forked_apex.run_code(
        "from apex_pipeline.defs.pool_limits import POOL_LIMITS; print(*POOL_LIMITS)",
        env=os.environ | {"DAGSTER_LOCATION_NAME": "another_apex"},
    )
    assert ended.stdout.split() == ["another_apex/writer", "another_apex/analysis"]


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


@pytest.mark.slow
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
