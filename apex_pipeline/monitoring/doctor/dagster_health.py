"""Dagster's part: whether daemon and code server live, and the schedule ticks.

What is looked at comes from `defs`, which alone may know Dagster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from apex_pipeline.monitoring import code_server
from apex_pipeline.monitoring.doctor.check_results import Finding, failed, ok, warning

SCHEDULE = "sync_every_five_minutes"

# A daemon writes a heartbeat every 30 s.
_HEARTBEAT = timedelta(seconds=90)
# Two intervals of the schedule, and a minute for a slow tick.
_TICK = timedelta(minutes=11)

NO_INSTANCE = (
    "Set DAGSTER_HOME, and DAGSTER_POSTGRES_URL as dagster.yaml asks for it, to what "
    "the daemon has."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How an instance is set up, by the dagster.yaml that is in use.

    Attributes:
        storage: What holds runs and events: `Postgres`, or the class of another.
        is_shared: Whether that is the database of DAGSTER_POSTGRES_URL, which the web
            server and the daemon read too.
        places: Runs that may go at a time; None where runs are not queued.
        counts_runs: Whether pools count runs, so that a killed one keeps no slot.
        pools: Limit of each pool of ours; None for one that has none yet.
        is_monitored: Whether run monitoring is on.
        max_runtime_seconds: Of a run that does not say; 0 for no limit.
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
class Instance:
    """What a Dagster instance tells.

    Attributes:
        heartbeats: Kind of each daemon that the instance requires, to its last
            heartbeat (aware); None for one that was never there.
        is_stopped: Whether somebody switched the schedule off; None where no daemon
            has seen the schedule yet.
        tick_at: The schedule's last tick (aware); None if there is none.
        tick_error: What that tick failed with.
        setup: How it is set up.
    """

    heartbeats: Mapping[str, datetime | None]
    is_stopped: bool | None
    tick_at: datetime | None
    tick_error: str | None
    setup: Setup


def settings(instance: Instance | None) -> Finding:
    """Whether the instance in use has the storage and the limits of our dagster.yaml.

    Without that file in DAGSTER_HOME, Dagster quietly uses SQLite and no limits at all.
    """
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    setup = instance.setup
    if setup.storage != "Postgres":
        return failed(f"runs and events are in {setup.storage}, not in Postgres")
    wrong = [*_wrong(setup)]
    if wrong:
        return failed("; ".join(wrong))
    pools = ", ".join(f"{name} {limit}" for name, limit in setup.pools.items())
    return ok(f"Postgres, {setup.places} runs at a time, pools {pools}")


def _wrong(setup: Setup) -> Iterator[str]:
    if not setup.is_shared:
        yield "its Postgres is not that of DAGSTER_POSTGRES_URL, where incidents are kept"
    if setup.places is None:
        yield "runs are not queued, so no limit holds"
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
    instance: Instance | None, seen: Mapping[str, datetime] | None
) -> Finding:
    """Whether a web server reads the storage that the daemon writes.

    Args:
        instance: What the instance tells.
        seen: Heartbeats of daemons, by kind, as the web server knows them; None where
            it cannot be asked.
    """
    if seen is None:
        return warning(
            "it cannot be asked from here, such as behind a sign-in",
            "See on its page Deployment, Daemons that it knows the heartbeats.",
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
    """Addresses of the code servers that the workspace in DAGSTER_HOME names."""
    home = environment.get("DAGSTER_HOME")
    return code_server.addresses(Path(home) / "workspace.yaml") if home else []


def code_location(servers: Sequence[str]) -> Finding:
    """Whether every code server serves its definitions."""
    for error in map(code_server.load_error, servers):
        if error:
            return failed(error)
    return ok(f"answers at {', '.join(servers)}")


def daemon(instance: Instance | None, now: datetime) -> Finding:
    """Whether every daemon that the instance requires gives signs of life."""
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    dead = [
        f"{kind} ({_ago(at, now)})"
        for kind, at in sorted(instance.heartbeats.items())
        if at is None or now - at > _HEARTBEAT
    ]
    if dead:
        return failed(f"no sign of life from {', '.join(dead)}")
    last = min(at for at in instance.heartbeats.values() if at is not None)
    return ok(f"{len(instance.heartbeats)} alive, heartbeats {_ago(last, now)} at most")


def schedule(instance: Instance | None, now: datetime) -> Finding:
    """Whether the schedule is on and ticks; needs a daemon that lives."""
    if instance is None:
        return warning("no Dagster instance is configured here", NO_INSTANCE)
    if instance.is_stopped is None:
        return failed(
            "the daemon does not know it",
            "Have the daemon and the web server load the code location: start them "
            "with this project's workspace.yaml.",
        )
    return failed("switched off") if instance.is_stopped else _ticks(instance, now)


def _ticks(instance: Instance, now: datetime) -> Finding:
    if instance.tick_error is not None:
        return failed(
            f"the last tick failed: {instance.tick_error}",
            "Look at the schedule in the Dagster UI; the next tick comes by itself.",
        )
    if instance.tick_at is None:
        return ok("on; its first tick is yet to come")
    if now - instance.tick_at > _TICK:
        return failed(
            f"on, but the last tick was {_ago(instance.tick_at, now)}",
            "Restart the Dagster daemon.",
        )
    return ok(f"on, last tick {_ago(instance.tick_at, now)}")


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else f"{(now - at).total_seconds():,.0f} s ago"
