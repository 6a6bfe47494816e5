"""Read the state of schedules and sensors from the Dagster instance."""

from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from apex_pipeline.defs.alerts.instance_events import Page, describe
from apex_pipeline.defs.code_location import is_our_instigator
from apex_pipeline.monitoring.rules.schedules_and_sensors import Instigator, Tick

_TICKS_LOOKED_AT = 2
# What Dagster's client says when the code server is gone, or goes in mid-call. A call that
# takes too long has another message.
_UNREACHED = "Could not reach user code server"


def read_instigators(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    page: Page,
    only: str | None = None,
) -> list[Instigator]:
    """Schedules and sensors of this code location, with their last ticks.

    Args:
        instance: Where their states and ticks are.
        repository: The code location's definitions.
        page: Address of a page in the Dagster UI.
        only: Name of the only one to read; each costs a query.
    """
    # Ignore schedules and sensors that only an earlier version defined.
    names = instigator_names(repository)
    if only is not None:
        names &= {only}
    found = [
        _instigator(instance, state, page)
        for state in instance.all_instigator_state()
        if state.instigator_name in names and is_our_instigator(state)
    ]
    return sorted(found, key=lambda each: each.name)


def instigator_names(repository: dg.RepositoryDefinition) -> frozenset[str]:
    """Names of the schedules and sensors of this code location."""
    schedules = {each.name for each in repository.schedule_defs}
    return frozenset(schedules | {each.name for each in repository.sensor_defs})


def _instigator(
    instance: dg.DagsterInstance, state: InstigatorState, page: Page
) -> Instigator:
    ticks = instance.get_ticks(
        state.instigator_origin_id,
        state.selector_id,
        limit=_TICKS_LOOKED_AT,
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
    )
    is_schedule = state.instigator_type is InstigatorType.SCHEDULE
    return Instigator(
        name=state.instigator_name,
        is_schedule=is_schedule,
        is_stopped=state.status is InstigatorStatus.STOPPED,
        ticks=[_tick(each) for each in ticks],
        link=page("automation"),
    )


def _tick(tick: InstigatorTick) -> Tick:
    failed = tick.status is TickStatus.FAILURE
    return Tick(
        datetime.fromtimestamp(tick.timestamp, UTC),
        describe(tick.error)[1] if failed else None,
        tick.consecutive_failure_count if _is_unreached(tick.error) else 0,
    )


def _is_unreached(error: SerializableErrorInfo | None) -> bool:
    while error is not None:
        if _UNREACHED in error.message:
            return True
        error = error.cause
    return False
