"""Runs of our jobs in a real Dagster instance."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from apex_pipeline.definitions import defs
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import DELIVERED
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
def instance(emptied_instance):
    return emptied_instance


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


def freshened_at(instance):
    """When the asset of delivery last counted as up to date."""
    event = instance.get_latest_materialization_event(DELIVERED.key)
    return event and event.timestamp
