"""The report in Dagster: on a real instance, whose storage is a real Postgres."""

import os
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)

from apex_pipeline.definitions import defs
from apex_pipeline.defs.operations.report_reading import read_orchestration
from apex_pipeline_tests.support.dagster_runs import instance, run_job, variables
from apex_pipeline_tests.support.ends import free_port, insert_many

__all__ = ["instance", "variables"]

JOB = "write_completion_report"


@pytest.fixture(autouse=True)
def _nobody_serves_a_panel(monkeypatch):
    monkeypatch.setenv("APEX_PANEL_PORT", str(free_port()))


def write(instance, **config):
    result = (
        defs()
        .resolve_job_def(JOB)
        .execute_in_process(
            instance=instance,
            run_config={
                "ops": {
                    "completion_report": {"config": {"screenshots": False} | config}
                }
            },
            raise_on_error=False,
        )
    )
    told = {
        name: value.value
        for event in result.get_asset_materialization_events()
        for name, value in event.materialization.metadata.items()
    }
    return result, told


@pytest.mark.slow
def test_the_asset_tells_its_counts_and_the_report(
    instance, variables, database_url, tmp_path
):
    insert_many(database_url, 50)
    assert run_job(instance).success
    path = Path(variables["APEX_STATE_DIR"]) / "reports" / "report.html"
    result, told = write(instance, output="report.html")
    assert result.success
    assert told["path"] == str(path)
    assert told["met"] > 20
    assert told["not_measured"] > 0
    assert told["report"].startswith("# Completion report")
    assert len(told["report"]) <= 60_000
    text = path.read_text()
    # What Dagster knows of the sync that has just run here.
    assert "made " in text
    assert result.run_id[:8] in text
    for name in ("delivery_complete", "sync_every_five_minutes", JOB):
        assert name in text


def test_a_check_that_a_run_is_about_to_repeat_keeps_its_last_result(
    instance, variables
):
    def checks():
        found = read_orchestration(defs(), os.environ).checks
        return {f"{each.asset}: {each.name}": each for each in found}

    assert run_job(instance).success
    before = checks()
    name = "dataverse_campaign_metrics: delivery_complete"
    assert before[name].passed
    planned = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
        "sync_campaign_metrics",
        event_specific_data=AssetCheckEvaluationPlanned(
            asset_key=dg.AssetKey("dataverse_campaign_metrics"),
            check_name="delivery_complete",
        ),
    )
    instance.report_dagster_event(planned, str(uuid4()))
    assert checks() == before


def test_a_report_is_written_below_the_state_folder_alone(
    instance, variables, tmp_path
):
    elsewhere = tmp_path / "evil.html"
    result, _ = write(instance, output=str(elsewhere))
    assert not result.success
    assert not elsewhere.exists()


def test_dead_ends_do_not_fail_it(instance, variables, monkeypatch, unusable_url):
    monkeypatch.setenv("DATABASE_URL", unusable_url)
    monkeypatch.setenv("DATAVERSE_RESOURCE", "https://127.0.0.1:1")
    result, told = write(instance, html=False)
    assert result.success
    assert told["not_met"] >= 2
    assert told["not_measured"] > 20


def test_a_wrong_environment_fails_it_with_one_sentence(
    instance, variables, monkeypatch
):
    for name in ("DATABASE_URL", "DATAVERSE_RESOURCE"):
        monkeypatch.delenv(name)
    result, _ = write(instance)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    described = failure.step_failure_data.user_failure_data
    assert "apex up" in described.description
