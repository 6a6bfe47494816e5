"""Read the definitions and the Dagster instance for the completion report."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.asset_check_execution_record import (
    AssetCheckExecutionRecord,
    AssetCheckExecutionRecordStatus as Status,
)

from apex_pipeline.defs.alerts.instigator_states import read_instigators
from apex_pipeline.defs.code_location import OURS
from apex_pipeline.defs.operations.instance_state import readable_instance
from apex_pipeline.monitoring.rules.schedules_and_sensors import Instigator
from apex_pipeline.report.dagster_facts import (
    AssetCheckState,
    AssetState,
    AutomationState,
    JobState,
    Orchestration,
    RunState,
)
from apex_pipeline.settings import read_variable

_RUNS = 15


def read_orchestration(
    definitions: dg.Definitions, environment: Mapping[str, str]
) -> Orchestration:
    """Read the code location, and the instance that DAGSTER_HOME names, if any.

    Raises:
        ApexError: DAGSTER_HOME is set, but the instance cannot be read.
    """
    repository = definitions.get_repository_def()
    with _instance(environment) as instance:
        return Orchestration(
            instance=type(instance.run_storage).__name__ if instance else None,
            assets=tuple(_assets(repository, instance)),
            checks=tuple(_checks(repository, instance)),
            jobs=tuple(_jobs(repository, instance)),
            automations=tuple(_automations(repository, instance)),
            runs=tuple(_runs(instance)) if instance else (),
        )


@contextmanager
def _instance(environment: Mapping[str, str]) -> Iterator[dg.DagsterInstance | None]:
    if not read_variable(environment, "DAGSTER_HOME"):
        yield None
        return
    with readable_instance(environment) as instance:
        yield instance


def _assets(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance | None
) -> Iterator[AssetState]:
    graph = repository.asset_graph
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        event = instance.get_latest_materialization_event(key) if instance else None
        yield AssetState(
            key.to_user_string(),
            node.group_name,
            node.description or "",
            is_made=node.is_materializable,
            materialized_at=_instant(event.timestamp) if event else None,
        )


def _checks(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance | None
) -> Iterator[AssetCheckState]:
    graph = repository.asset_graph
    for key in sorted(graph.asset_check_keys):
        record = _last_evaluation(instance, key) if instance else None
        yield AssetCheckState(
            key.asset_key.to_user_string(),
            key.name,
            graph.get_check_spec(key).description or "",
            passed=record.status is Status.SUCCEEDED if record else None,
            is_warning=_only_warns(record),
            evaluated_at=_instant(record.create_timestamp) if record else None,
        )


def _last_evaluation(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> AssetCheckExecutionRecord | None:
    """Find the last result; a run that has just begun may have planned another one."""
    # Only the storage offers this method, not the instance.
    found = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status={Status.SUCCEEDED, Status.FAILED}
    )
    return found[0] if found else None


def _only_warns(record: AssetCheckExecutionRecord | None) -> bool:
    event = record.event.dagster_event if record and record.event else None
    if (
        event is None
        or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ):
        return False
    return event.asset_check_evaluation_data.severity is dg.AssetCheckSeverity.WARN


def _jobs(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance | None
) -> Iterator[JobState]:
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if job.name.startswith("__"):
            # Dagster's implicit job of all assets.
            continue
        asked = dg.RunsFilter(job_name=job.name, tags=OURS)
        records = instance.get_run_records(asked, limit=1) if instance else []
        run = records[0] if records else None
        yield JobState(
            job.name,
            job.description or "",
            instance.get_runs_count(asked) if instance else 0,
            run.dagster_run.status.value.lower() if run else None,
            run.create_timestamp if run else None,
        )


def _automations(
    repository: dg.RepositoryDefinition, instance: dg.DagsterInstance | None
) -> Iterator[AutomationState]:
    known: dict[str, Instigator] = {}
    if instance is not None:
        found = read_instigators(instance, repository, lambda _: None)
        known = {each.name: each for each in found}
    for schedule in repository.schedule_defs:
        when = str(schedule.cron_schedule)
        yield _automation(schedule.name, "schedule", when, known.get(schedule.name))
    for sensor in repository.sensor_defs:
        when = f"every {sensor.minimum_interval_seconds or 30} s"
        yield _automation(sensor.name, "sensor", when, known.get(sensor.name))


def _automation(
    name: str, kind: str, when: str, found: Instigator | None
) -> AutomationState:
    tick = found.ticks[0] if found and found.ticks else None
    return AutomationState(
        name,
        kind,
        when,
        is_on=None if found is None else not found.is_stopped,
        ticked_at=tick.at if tick else None,
        error=tick.error if tick else None,
    )


def _runs(instance: dg.DagsterInstance) -> Iterator[RunState]:
    for record in instance.get_run_records(dg.RunsFilter(tags=OURS), limit=_RUNS):
        run = record.dagster_run
        both = record.start_time is not None and record.end_time is not None
        yield RunState(
            run.run_id,
            run.job_name,
            run.status.value.lower(),
            record.create_timestamp,
            (record.end_time or 0) - (record.start_time or 0) if both else None,
        )


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
