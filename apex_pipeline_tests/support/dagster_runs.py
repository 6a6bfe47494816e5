"""Runs of our jobs in a real Dagster instance."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline_tests.support.dagster_storage import stored_at
from apex_pipeline_tests.support.ends import environment

SYNC = "sync_campaign_metrics"


@pytest.fixture
def variables(monkeypatch, emulator, database_url, tmp_path):
    """The environment of a configured process."""
    found = environment(emulator, database_url, tmp_path)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def instance(dagster_storage, tmp_path):
    with dg.instance_for_test(
        temp_dir=str(tmp_path), overrides=stored_at(dagster_storage)
    ) as found:
        yield found


def run_job(instance, **config):
    return (
        defs()
        .resolve_job_def(SYNC)
        .execute_in_process(
            instance=instance,
            run_config={"ops": {"sync": {"config": config}}},
            raise_on_error=False,
        )
    )


def age(instance, run_id, days=31):
    """Let a run, and all that the storage holds of it, be so old."""
    then = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    changes = (
        "UPDATE runs SET create_timestamp = %s WHERE run_id = %s",
        "UPDATE event_logs SET timestamp = %s WHERE run_id = %s",
        "UPDATE asset_check_executions SET create_timestamp = %s WHERE run_id = %s",
    )
    with instance.run_storage.connect() as connection:
        for change in changes:
            connection.exec_driver_sql(change, (then, run_id))


def output(result):
    """Metadata of the op's output."""
    (event,) = [e for e in result.all_events if e.is_successful_output]
    return event.step_output_data.metadata


def failure(result):
    """What the run failed with, and nothing that looks like a stack trace."""
    (event,) = [e for e in result.all_events if e.is_step_failure]
    told = event.step_failure_data.user_failure_data.description
    assert "Traceback" not in told
    assert "pydantic" not in told
    return told
