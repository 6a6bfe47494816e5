"""What the Dagster instance tells of its daemons and of the schedule."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterInstance
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    TickStatus,
)
from sqlalchemy.exc import SQLAlchemyError

from apex_pipeline.defs.schedules import sync_every_five_minutes
from apex_pipeline.defs.storage_patience import bound_storage
from apex_pipeline.doctor.orchestration import Instance
from apex_pipeline.errors import ApexError
from apex_pipeline.settings import read_variable


def look_at_instance(environment: Mapping[str, str]) -> Instance | None:
    """Read the instance that DAGSTER_HOME names; None without one.

    Raises:
        ApexError: It is named, and cannot be read.
    """
    if not read_variable(environment, "DAGSTER_HOME"):
        return None
    with readable_instance(environment) as instance:
        return read_instance(instance)


@contextmanager
def readable_instance(
    environment: Mapping[str, str],
) -> Iterator[dg.DagsterInstance]:
    """The instance that DAGSTER_HOME names.

    Raises:
        ApexError: It cannot be read.
    """
    bound_storage()
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    except (dg.DagsterError, SQLAlchemyError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ApexError(
            f"The Dagster instance in {environment['DAGSTER_HOME']} cannot be read: "
            f"{first_line} Check DAGSTER_HOME and DAGSTER_POSTGRES_URL."
        ) from error


def read_instance(instance: DagsterInstance) -> Instance:
    """Heartbeats, the schedule's switch, and its last tick."""
    beats = instance.get_daemon_heartbeats()
    state, tick = _schedule(instance)
    return Instance(
        heartbeats={
            kind: _instant(beats[kind].timestamp) if kind in beats else None
            for kind in instance.get_required_daemon_types()
        },
        is_stopped=None if state is None else state.status is InstigatorStatus.STOPPED,
        tick_at=None if tick is None else _instant(tick.timestamp),
        tick_error=_tick_error(tick),
    )


def _schedule(
    instance: DagsterInstance,
) -> tuple[InstigatorState | None, InstigatorTick | None]:
    """The schedule's switch and last tick.

    A code location that was renamed leaves another one behind, which ticks no more.
    """
    found: tuple[InstigatorState | None, InstigatorTick | None] = (None, None)
    for state in instance.all_instigator_state():
        if state.instigator_name != sync_every_five_minutes.name:
            continue
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=1
        )
        tick = ticks[0] if ticks else None
        latest = found[1].timestamp if found[1] else 0.0
        if found[0] is None or (tick is not None and tick.timestamp > latest):
            found = (state, tick)
    return found


def _tick_error(tick: InstigatorTick | None) -> str | None:
    if tick is None or tick.status is not TickStatus.FAILURE or tick.error is None:
        return None
    return tick.error.message.strip()


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
