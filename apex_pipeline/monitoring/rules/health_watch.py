"""The health watch: observe every problem that does not fail a run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ConfigError, DatabaseError
from apex_pipeline.monitoring.alerts.notice import Observation
from apex_pipeline.monitoring.alerts.outbox import STUCK_AFTER, Backlog
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
from apex_pipeline.postgres import empty_looks
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import Settings, dagster_home, load_settings, state_dir
from apex_pipeline.texts.durations import words

WATCHER = "watch_sync_health"
"""Name of the sensor, under which the journal keeps its state."""

STALLED = timedelta(minutes=3)
"""Longer without a look means stalled. The watch looks every 30 s, and a restart of the
daemon takes less than a minute."""

# A suspended Neon compute needs seconds to wake; a tick has to end within a minute.
_PATIENCE_SECONDS = 10.0
_ANSWER_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class WatchSurroundings:
    """What the watch observes besides the two ends of the environment.

    Attributes:
        instigators: Our schedules and sensors.
        backlogs: Undelivered notices of each channel.
        channels: Names of the configured channels.
    """

    instigators: Sequence[Instigator]
    backlogs: Sequence[Backlog]
    channels: Sequence[str]


def look(
    environment: Mapping[str, str],
    around: WatchSurroundings,
    state: Mapping[str, Any],
    now: datetime,
    *,
    seconds: float = _ANSWER_SECONDS,
) -> tuple[list[Observation], dict[str, Any]]:
    """Observe everything in bounded time; causes come before consequences.

    Args:
        environment: Variables that configure Postgres and Dataverse.
        around: What else to observe.
        state: State that the last look returned; empty the first time.
        now: Current time, timezone-aware.
        seconds: Timeout for the metrics database.
    """
    since = sync_health.utc(state.get("since", now.isoformat()))
    kept = {**state, "since": since.isoformat(), "looked_at": now.isoformat()}
    looked_at = sync_health.utc(state.get("looked_at", now.isoformat()))
    if now - looked_at > STALLED:
        # Whatever stopped the watch also stopped the sync, and has its own incident:
        # count the rows' waiting time from now.
        kept["empty_at"] = now.isoformat()
    seen = [*_room(environment), _not_getting_through(around, now)]
    seen += instigators.observe(around.instigators, since, now)
    seen.append(Observation(WATCH_STALLED.name))
    try:
        settings = load_settings(environment)
    except ConfigError as error:
        wrong = CONFIGURATION_WRONG.finding(str(error))
        return [Observation(CONFIGURATION_WRONG.name, (wrong,)), *seen], kept
    ends, kept = _look_at_ends(settings, environment, kept, now, seconds)
    return [Observation(CONFIGURATION_WRONG.name), *ends, *seen], kept


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
        # The database's own timeouts end this even after the caller has given up.
        with database:
            health = sync_health.read_health(database, now, settings.dataverse)
            if not health.facts.pending.count:
                # For status, panel, doctor and report, which do not read the journal.
                database.ask(empty_looks.note)
            return health

    try:
        health = within(seconds, read)
    except (DatabaseError, TimeoutError) as error:
        wrong = DATABASE_UNUSABLE.finding(
            str(error)
            or f"Postgres at {database.address} has not answered within {seconds:g} s. "
            "It hangs, cannot be reached, or another session locks its tables."
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
    home = dagster_home(environment)
    # In a container it may hold dagster.yaml alone, and a folder without writers stays small.
    if home and os.access(home, os.W_OK):
        places["DAGSTER_HOME"] = home
    # Report each file system only once.
    devices = {_device(place): name for name, place in reversed(places.items())}
    return [*disk_space.observe({n: places[n] for n in devices.values()})]


def _device(place: Path) -> int:
    there = next(each for each in (place, *place.parents) if each.exists())
    return there.stat().st_dev


def _not_getting_through(around: WatchSurroundings, now: datetime) -> Observation:
    """Observe channels with undelivered notices; the other channels report it."""
    found = []
    for each in around.backlogs:
        stuck = each.oldest_at is not None and now - each.oldest_at > STUCK_AFTER
        if each.channel not in around.channels or not (stuck or each.given_up):
            continue
        facts = [("Notices waiting", str(each.waiting))]
        if each.oldest_at is not None:
            facts.append(("Oldest waiting for", words(now - each.oldest_at)))
        if each.given_up:
            facts.append(("Expired today", str(each.given_up)))
        finding = CHANNEL_FAILING.finding(
            each.error or "Nothing has tried to send them yet.",
            where=each.channel,
            facts=tuple(facts),
        )
        found.append(finding)
    return Observation(CHANNEL_FAILING.name, tuple(found))
