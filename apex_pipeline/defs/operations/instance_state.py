"""Read daemons, schedule and configuration from the Dagster instance."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import dagster as dg
from dagster import DagsterInstance
from dagster._check import CheckError
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.config import PoolGranularity
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    TickStatus,
)
from dagster._core.storage.event_log.base import PoolLimit
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from yaml import YAMLError

from apex_pipeline.defs.code_location import is_our_instigator
from apex_pipeline.defs.pool_limits import POOL_LIMITS
from apex_pipeline.defs.storage_timeouts import bound_storage
from apex_pipeline.defs.sync.schedules import sync_every_five_minutes
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.monitoring.doctor.dagster_health import InstanceHealth, Setup
from apex_pipeline.settings import (
    dagster_home,
    load_storage_parameters,
    read_postgres_url,
    read_variable,
)

_MOST_SAID = 300


def look_at_instance(environment: Mapping[str, str]) -> InstanceHealth | None:
    """Read the instance in DAGSTER_HOME; None if the variable is not set.

    Raises:
        ApexError: DAGSTER_HOME is set, but the instance cannot be read.
    """
    if not read_variable(environment, "DAGSTER_HOME"):
        return None
    with readable_instance(environment) as instance:
        return read_instance(instance)


@contextmanager
def readable_instance(
    environment: Mapping[str, str],
) -> Iterator[dg.DagsterInstance]:
    """Open the instance in DAGSTER_HOME, with a timeout on its storage.

    Raises:
        ApexError: The instance cannot be read.
    """
    try:
        with opened_instance(environment) as instance:
            yield instance
    except (dg.DagsterError, OSError) as error:
        raise _unreadable(environment, error) from error


@contextmanager
def opened_instance(environment: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """Open the instance in DAGSTER_HOME likewise, to run something in it.

    Raises:
        ApexError: It cannot be opened, or its storage fails.
        ConfigError: DAGSTER_HOME or DAGSTER_POSTGRES_URL is malformed.
    """
    bound_storage()
    try:
        with _instance(environment) as instance:
            yield instance
    except (SQLAlchemyError, DagsterPostgresException) as error:
        raise _unreadable(environment, error) from error


def _unreadable(environment: Mapping[str, str], error: Exception) -> ApexError:
    # Dagster says only that it has tried often enough; the last attempt says why.
    said = error.__cause__ if isinstance(error, DagsterPostgresException) else error
    if isinstance(said, DBAPIError):
        said = said.orig
    first_line = (str(said).splitlines() or [type(said).__name__])[0]
    return ApexError(
        f"The Dagster instance in {dagster_home(environment)} cannot be read: "
        f"{first_line.rstrip('.')}. Check DAGSTER_HOME and DAGSTER_POSTGRES_URL, and "
        "whether its Postgres runs."
    )


def _instance(environment: Mapping[str, str]) -> dg.DagsterInstance:
    """Create the instance, which parses its file and opens its storage.

    Raises:
        ApexError: The file is malformed.
        ConfigError: A variable is.
    """
    # It checks the variable.
    dagster_home(environment)
    try:
        return dg.DagsterInstance.get()
    except click.UsageError as error:
        raise ConfigError(error.message) from error
    # What Dagster raises depends on how far it comes with the file.
    except dg.DagsterInvalidConfigError as error:
        raise _malformed(
            environment, *(each.message for each in error.errors)
        ) from error
    except (YAMLError, CheckError, TypeError) as error:
        raise _malformed(environment, str(error)) from error
    except (dg.DagsterError, OSError) as error:
        raise _unreadable(environment, error) from error


def _malformed(environment: Mapping[str, str], *said: str) -> ApexError:
    path = f"{dagster_home(environment)}/dagster.yaml"
    words = " ".join(" ".join(said).split())
    return ApexError(
        f"{path} is not usable: {words[:_MOST_SAID]} Compare it with apex_pipeline's own "
        "dagster.yaml, and set the variables that it names, such as DAGSTER_POSTGRES_URL."
    )


def read_instance(instance: DagsterInstance) -> InstanceHealth:
    """Read daemon heartbeats, the state and last tick of the schedule, and the setup."""
    beats = instance.get_daemon_heartbeats()
    ours = {
        state.instigator_name: state
        for state in instance.all_instigator_state()
        if is_our_instigator(state)
    }
    state = ours.get(sync_every_five_minutes.name)
    tick = _last_tick(instance, state)
    return InstanceHealth(
        heartbeats={
            kind: _instant(beats[kind].timestamp) if kind in beats else None
            for kind in instance.get_required_daemon_types()
        },
        is_stopped=None if state is None else state.status is InstigatorStatus.STOPPED,
        is_known=bool(ours),
        tick_at=None if tick is None else _instant(tick.timestamp),
        tick_error=_tick_error(tick),
        setup=_setup(instance),
    )


def _setup(instance: DagsterInstance) -> Setup:
    concurrency = instance.get_concurrency_config()
    queue = concurrency.run_queue_config
    limits = {each.name: each.limit for each in _pool_limits(instance)}
    retention = [
        days
        for kind in (InstigatorType.SCHEDULE, InstigatorType.SENSOR)
        for days in instance.get_tick_retention_settings(kind).values()
    ]
    url = getattr(instance.run_storage, "postgres_url", None)
    return Setup(
        storage="Postgres" if url else type(instance.run_storage).__name__,
        is_shared=url is not None and _same_database(url, os.environ),
        places=queue.max_concurrent_runs if queue else None,
        counts_runs=concurrency.pool_config.pool_granularity is PoolGranularity.RUN,
        pools={name: limits.get(name) for name in POOL_LIMITS},
        is_monitored=instance.run_monitoring_enabled,
        max_runtime_seconds=instance.run_monitoring_max_runtime_seconds,
        keeps_ticks=any(days < 0 for days in retention),
    )


def _pool_limits(instance: DagsterInstance) -> Sequence[PoolLimit]:
    storage = instance.event_log_storage
    return (
        storage.get_pool_limits() if storage.supports_global_concurrency_limits else ()
    )


def _same_database(url: str, environment: Mapping[str, str]) -> bool:
    other = load_storage_parameters(environment)
    one = read_postgres_url(url, "the storage of dagster.yaml")
    return other is not None and _place(one) == _place(other)


def _place(parameters: Mapping[str, str]) -> tuple[str, str, str]:
    host = parameters.get("host") or parameters.get("hostaddr", "")
    return host, parameters.get("port") or "5432", parameters["dbname"]


def _last_tick(
    instance: DagsterInstance, state: InstigatorState | None
) -> InstigatorTick | None:
    if state is None:
        return None
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return ticks[0] if ticks else None


def _tick_error(tick: InstigatorTick | None) -> str | None:
    if tick is None or tick.status is not TickStatus.FAILURE or tick.error is None:
        return None
    return tick.error.message.strip()


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
