"""Checks of Dagster: daemon and code server alive, schedule ticking, instance set up.

The values come from `defs`, because only that may import Dagster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from apex_pipeline.monitoring import code_server
from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.settings import dagster_home, load_code_location

SCHEDULE = "sync_every_five_minutes"

# A daemon writes a heartbeat every 30 s.
_HEARTBEAT = timedelta(seconds=90)
# Two intervals of the schedule, plus a minute for a slow tick.
_TICK = timedelta(minutes=11)

NO_INSTANCE = (
    "Set DAGSTER_HOME, and the DAGSTER_POSTGRES_URL that its dagster.yaml uses, to the "
    "daemon's values."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Configuration of an instance, from the dagster.yaml in use.

    Attributes:
        storage: Storage of runs and events: `Postgres`, or the class name of another.
        is_shared: Whether the storage is the database of DAGSTER_POSTGRES_URL, which
            the web server and the daemon use too.
        places: Maximum concurrent runs; None if runs are not queued.
        counts_runs: Whether pools count runs, which frees a killed run's slot.
        pools: Limit of each of our pools; None for a pool without a limit.
        is_monitored: Whether run monitoring is on.
        max_runtime_seconds: Default limit of a run's duration; 0 for no limit.
        keeps_ticks: Whether ticks of any kind are kept for ever.
    """

    storage: str
    is_shared: bool
    places: int | None
    counts_runs: bool
    pools: Mapping[str, int | None]
    is_monitored: bool
    max_runtime_seconds: int
    keeps_ticks: bool


@dataclass(frozen=True, slots=True)
class InstanceHealth:
    """State of a Dagster instance.

    Attributes:
        heartbeats: Kind of each required daemon to its last heartbeat,
            timezone-aware; None if it has never run.
        is_stopped: Whether the schedule is switched off; None if no daemon has let it
            tick yet.
        is_known: Whether a daemon has seen our code location.
        tick_at: The schedule's last tick, timezone-aware; None if there is none.
        tick_error: Error message of that tick.
        setup: Configuration of the instance.
    """

    heartbeats: Mapping[str, datetime | None]
    is_stopped: bool | None
    is_known: bool
    tick_at: datetime | None
    tick_error: str | None
    setup: Setup


def settings(instance: InstanceHealth | None) -> Measurement:
    """Check that the instance has the storage and limits of our dagster.yaml.

    Without that file in DAGSTER_HOME, Dagster silently uses SQLite and no limits.
    """
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    setup = instance.setup
    if setup.storage != "Postgres":
        return failed(f"runs and events are stored in {setup.storage}, not in Postgres")
    wrong = [*_wrong(setup)]
    if wrong:
        return failed("; ".join(wrong))
    pools = ", ".join(f"{name} {limit}" for name, limit in setup.pools.items())
    return ok(f"Postgres, {setup.places} runs at a time, pools {pools}")


def _wrong(setup: Setup) -> Iterator[str]:
    if not setup.is_shared:
        yield "its Postgres is not the one in DAGSTER_POSTGRES_URL, which stores incidents"
    if setup.places is None:
        yield "runs are not queued, so no limit applies"
    if not setup.counts_runs:
        yield "pools do not have the granularity run"
    for name, limit in setup.pools.items():
        if limit is None:
            yield f"the pool {name} has no limit yet (the first tick of the schedule sets it)"
    if not setup.is_monitored:
        yield "run monitoring is off"
    elif not setup.max_runtime_seconds:
        yield "run monitoring has no max_runtime_seconds"
    if setup.keeps_ticks:
        yield "ticks are kept for ever"


def web_server(
    instance: InstanceHealth | None, seen: Mapping[str, datetime] | None
) -> Measurement:
    """Check that a web server reads the storage that the daemon writes.

    Args:
        instance: State of the instance.
        seen: Daemon heartbeats by kind, as the web server reports them; None if it
            cannot be queried.
    """
    if seen is None:
        return warning(
            "cannot be queried from here; it may require a sign-in",
            "Check on its page Deployment > Daemons that it shows the heartbeats.",
        )
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    apart = [
        kind
        for kind, at in sorted(instance.heartbeats.items())
        if at is not None and (kind not in seen or abs(seen[kind] - at) > _HEARTBEAT)
    ]
    if apart:
        return failed(f"it does not see the heartbeat of {', '.join(apart)}")
    return ok("reads the storage that the daemon writes")


def code_servers(environment: Mapping[str, str]) -> list[str]:
    """Addresses of our code server in the workspace.yaml of DAGSTER_HOME, if it has one.

    Raises:
        ConfigError: APEX_TENANT or DAGSTER_HOME is malformed.
    """
    home = dagster_home(environment)
    if not home:
        return []
    location = load_code_location(environment)
    return code_server.addresses(home / "workspace.yaml", location, environment)


def code_location(servers: Sequence[str]) -> Measurement:
    """Check that our code server serves its definitions."""
    for address in servers:
        if unset := code_server.unset_variables(address):
            return warning(
                "its address cannot be known here",
                f"Set {' and '.join(unset)}, which workspace.yaml names, to the daemon's "
                "values.",
            )
        if error := code_server.load_error(address):
            return failed(error)
    return ok(f"answers at {', '.join(servers)}")


def daemon(instance: InstanceHealth | None, now: datetime) -> Measurement:
    """Check that every daemon that the instance requires sends heartbeats."""
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    dead = [
        f"{kind} ({_ago(at, now)})"
        for kind, at in sorted(instance.heartbeats.items())
        if at is None or now - at > _HEARTBEAT
    ]
    if dead:
        return failed(f"no heartbeat from {', '.join(dead)}")
    last = min(at for at in instance.heartbeats.values() if at is not None)
    return ok(f"{len(instance.heartbeats)} alive, oldest heartbeat {_ago(last, now)}")


def schedule(instance: InstanceHealth | None, now: datetime) -> Measurement:
    """Check that the schedule is on and ticks; requires a live daemon."""
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    if instance.is_stopped is None and instance.is_known:
        return warning(
            "has not ticked yet",
            "Wait until five minutes after the daemon's first start.",
        )
    if instance.is_stopped is None:
        return failed(
            "the daemon does not know it",
            "Start the daemon and the web server with this project's workspace.yaml, "
            "which makes them load the code location.",
        )
    return failed("switched off") if instance.is_stopped else _ticks(instance, now)


def _ticks(instance: InstanceHealth, now: datetime) -> Measurement:
    if instance.tick_error is not None:
        return failed(
            f"the last tick failed: {instance.tick_error}",
            "Open the schedule in the Dagster UI; the next tick comes automatically.",
        )
    if instance.tick_at is None:
        return ok("on; no tick yet")
    if now - instance.tick_at > _TICK:
        return failed(
            f"on, but the last tick was {_ago(instance.tick_at, now)}",
            "Restart the Dagster daemon.",
        )
    return ok(f"on, last tick {_ago(instance.tick_at, now)}")


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else f"{(now - at).total_seconds():,.0f} s ago"
