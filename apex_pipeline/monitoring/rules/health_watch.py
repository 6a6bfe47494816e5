"""The watch over everything that makes no failed run: one look at all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from apex_pipeline.durations import words
from apex_pipeline.errors import ConfigError, DatabaseError
from apex_pipeline.monitoring.alerts.journal import Look
from apex_pipeline.monitoring.alerts.observations import Observation
from apex_pipeline.monitoring.alerts.outbox import LATE, Backlog
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.monitoring.rules import (
    disk_space,
    periodic_probes,
    schedules_and_sensors as instigators,
    sync_health,
)
from apex_pipeline.monitoring.rules.catalogue import (
    CHANNEL_FAILING,
    CONFIGURATION_WRONG,
    DATABASE_UNUSABLE,
    WATCH_STALLED,
)
from apex_pipeline.monitoring.rules.schedules_and_sensors import Instigator
from apex_pipeline.monitoring.rules.sync_health import SyncHealth
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import Settings, load_settings, read_variable, state_dir

WATCHER = "watch_sync_health"
"""Under this name it keeps how far it has come."""

# A suspended Neon compute needs seconds to wake; a tick has to end within a minute.
STALLED = timedelta(minutes=3)
"""The watch looks every half minute; a restart of the daemon takes less than one."""

_PATIENCE_SECONDS = 10.0
_ANSWER_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the watch is given to look at, besides what the environment names.

    Attributes:
        instigators: Schedules and sensors of ours.
        backlogs: What has not got through to people, by channel.
        channels: Names of all that are configured.
    """

    instigators: Sequence[Instigator]
    backlogs: Sequence[Backlog]
    channels: Sequence[str]


def look(
    environment: Mapping[str, str],
    around: Surroundings,
    state: Mapping[str, Any],
    now: datetime,
    *,
    seconds: float = _ANSWER_SECONDS,
) -> Look:
    """Look at everything, causes first, in bounded time.

    Args:
        environment: Where the two ends are.
        around: What else there is to look at.
        state: What the last look left; empty for the first.
        now: The present (aware).
        seconds: How long the metrics database may take to answer.
    """
    since = sync_health.utc(state.get("since", now.isoformat()))
    kept = {**state, "since": since.isoformat(), "looked_at": now.isoformat()}
    looked_at = sync_health.utc(state.get("looked_at", now.isoformat()))
    if now - looked_at > STALLED:
        # What kept us from looking kept the sync from running: rows wait anew from here.
        kept["empty_at"] = now.isoformat()
    seen = [*_room(environment), _not_getting_through(around, now)]
    seen += instigators.observe(around.instigators, since, now)
    seen.append(Observation(WATCH_STALLED.name))
    try:
        settings = load_settings(environment)
    except ConfigError as error:
        wrong = CONFIGURATION_WRONG.finding(str(error))
        return Look([Observation(CONFIGURATION_WRONG.name, (wrong,)), *seen], kept)
    ends, kept = _look_at_ends(settings, environment, kept, now, seconds)
    return Look([Observation(CONFIGURATION_WRONG.name), *ends, *seen], kept)


def _look_at_ends(
    settings: Settings,
    environment: Mapping[str, str],
    state: Mapping[str, Any],
    now: datetime,
    seconds: float,
) -> tuple[list[Observation], dict[str, Any]]:
    candidates = periodic_probes.probes(settings, environment, now.date())
    seen, probed = periodic_probes.look_at_one(candidates, state.get("probes", {}), now)
    kept = {**state, "probes": probed}
    database = Database(
        settings.database_url,
        wait_seconds=_PATIENCE_SECONDS,
        statement_seconds=_PATIENCE_SECONDS,
        application_name="apex_pipeline watch",
    )

    def read() -> SyncHealth:
        # Its own limits end it, also when nobody waits any more.
        with database:
            return sync_health.read_health(database, now)

    try:
        health = within(seconds, read)
    except (DatabaseError, TimeoutError) as error:
        wrong = DATABASE_UNUSABLE.finding(
            str(error)
            or f"Postgres at {database.address} has not answered within {seconds:g} s. "
            "It hangs, cannot be reached, or somebody holds a lock on our tables."
        )
        return [Observation(DATABASE_UNUSABLE.name, (wrong,)), *seen], kept
    known = sync_health.utc(state.get("empty_at", now.isoformat()))
    empty_at = sync_health.last_empty(health, known, now)
    kept["empty_at"] = empty_at.isoformat()
    return [
        Observation(DATABASE_UNUSABLE.name),
        *seen,
        *sync_health.observe(health, empty_at, now),
    ], kept


def _room(environment: Mapping[str, str]) -> list[Observation]:
    places = {"state folder": state_dir(environment)}
    if home := read_variable(environment, "DAGSTER_HOME"):
        places["DAGSTER_HOME"] = Path(home)
    # Two folders of one file system would be told of twice.
    devices = {_device(place): name for name, place in reversed(places.items())}
    return [*disk_space.observe({n: places[n] for n in devices.values()})]


def _device(place: Path) -> int:
    there = next(each for each in (place, *place.parents) if each.exists())
    return there.stat().st_dev


def _not_getting_through(around: Surroundings, now: datetime) -> Observation:
    """Channels that have not taken what was due to them; told by the others."""
    found = []
    for each in around.backlogs:
        stuck = each.oldest_at is not None and now - each.oldest_at > LATE
        if each.channel not in around.channels or not (stuck or each.given_up):
            continue
        facts = [("Notices waiting", str(each.waiting))]
        if each.oldest_at is not None:
            facts.append(("The oldest for", words(now - each.oldest_at)))
        if each.given_up:
            facts.append(("Given up today", str(each.given_up)))
        finding = CHANNEL_FAILING.finding(
            each.error or "Nobody has tried to send them.",
            where=each.channel,
            facts=tuple(facts),
        )
        found.append(finding)
    return Observation(CHANNEL_FAILING.name, tuple(found))
