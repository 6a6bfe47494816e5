"""Incidents, silences and notices in Postgres, beside Dagster's storage.

What is found, what follows from it, and how far the finder has come are written in one
transaction, under a lock: whoever is killed before its end has decided nothing, and of
two who find the same, the second finds it known.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import Connection

from apex_pipeline.errors import SchemaMissingError
from apex_pipeline.monitoring.alerts import incident_table, outbox
from apex_pipeline.monitoring.alerts.incidents import (
    MEMORY,
    Decision,
    Incident,
    Silence,
    decide,
)
from apex_pipeline.monitoring.alerts.notice import Notice
from apex_pipeline.monitoring.alerts.observations import Observation
from apex_pipeline.monitoring.alerts.outbox import Waiting
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import DEFAULT_LOCATION

_Result = TypeVar("_Result")

VARIABLE = "DAGSTER_POSTGRES_URL"

NO_JOURNAL = (
    "Alerts need DAGSTER_POSTGRES_URL, a Postgres for Dagster's storage: incidents are "
    "kept there, beside it. Without it nobody is told of anything."
)

_KEPT = timedelta(days=90)

# A lock that needs a privilege on our tables, since any login may hold an advisory lock.
_LOCK = "LOCK TABLE apex_alerts.progress IN SHARE ROW EXCLUSIVE MODE"

_SILENCES = """
    SELECT fingerprint, until, reason FROM apex_alerts.silence
    WHERE location = %(location)s AND until > %(now)s
    ORDER BY until, fingerprint
"""

_SET_SILENCE = """
    INSERT INTO apex_alerts.silence (location, fingerprint, until, reason, created_at)
    VALUES (%(location)s, %(fingerprint)s, %(until)s, %(reason)s, %(now)s)
    ON CONFLICT (location, fingerprint) DO UPDATE
    SET until = excluded.until,
        reason = excluded.reason,
        created_at = excluded.created_at
"""

_PROGRESS = """
    SELECT state, updated_at FROM apex_alerts.progress
    WHERE location = %(location)s AND name = %(name)s
"""

_SAVE_PROGRESS = """
    INSERT INTO apex_alerts.progress (location, name, state, updated_at)
    VALUES (%(location)s, %(name)s, %(state)s, %(now)s)
    ON CONFLICT (location, name) DO UPDATE
    SET state = excluded.state, updated_at = excluded.updated_at
"""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a watcher has come, and when it was at work last (aware, UTC)."""

    state: Mapping[str, Any]
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What a watcher saw, and what it has to know the next time."""

    observations: Sequence[Observation]
    state: Mapping[str, Any]


class Journal:
    """A code location's incidents in a Postgres; makes its tables where they are missing.

    Several locations may share the Postgres; none sees anything of another's.

    Raises:
        DatabaseError: From any method, where the Postgres cannot be used.
    """

    def __init__(
        self,
        url: str,
        location: str = DEFAULT_LOCATION,
        *,
        wait_seconds: float = 5.0,
        statement_seconds: float = 25.0,
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            url: DAGSTER_POSTGRES_URL.
            location: Dagster code location.
            wait_seconds: Patience with a server that does not take connections.
            statement_seconds: The most that one statement may take. A look that holds
                the lock meanwhile takes longer; who waits for it tries again later.

        Raises:
            ConfigError: The URL is not one of a Postgres database.
        """
        self._url = url
        self._location = location
        self._database = Database(
            url,
            wait_seconds=wait_seconds,
            statement_seconds=statement_seconds,
            application_name="apex_pipeline alerts",
            variable=VARIABLE,
        )

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._database.close()

    def record(
        self,
        watcher: str,
        look: Callable[[Progress | None], Look],
        channels: Sequence[str],
        now: datetime,
    ) -> tuple[Notice, ...]:
        """Decide what a watcher's look means, and put the notices into the outbox.

        Args:
            watcher: Under whose name the progress is kept.
            look: Looks, from where the watcher had come to; called under the lock.
            channels: Names of those that notices go to.
            now: The present (aware).
        """

        def work(connection: Connection) -> tuple[Notice, ...]:
            connection.exec_driver_sql(_LOCK)
            seen = look(_progress(connection, self._location, watcher))
            decision = _decide(connection, self._location, seen.observations, now)
            for notice in decision.notices:
                outbox.put(connection, self._location, notice, channels, now)
            _save_progress(connection, self._location, watcher, seen.state, now)
            return decision.notices

        return self._transact(work)

    def adopt(self, incidents: Sequence[Incident]) -> None:
        """Take over incidents that were decided on while nothing could be written."""

        def work(connection: Connection) -> None:
            connection.exec_driver_sql(_LOCK)
            found = incident_table.read(connection, self._location, _now())
            known = {each.fingerprint for each in found}
            for each in incidents:
                if each.is_open and each.fingerprint not in known:
                    incident_table.save(connection, self._location, each)

        self._transact(work)

    def incidents(self, *, resolved_within: timedelta = timedelta()) -> list[Incident]:
        """The open incidents, and those that were resolved lately, by their opening."""
        since = _now() - resolved_within
        return self._transact(
            lambda c: incident_table.read(c, self._location, since), repeatable=True
        )

    def silences(self) -> list[tuple[Silence, str]]:
        """The silences in force, each with its reason."""
        return self._transact(
            lambda c: _silences(c, self._location, _now()), repeatable=True
        )

    def silence(self, scope: str, until: datetime, reason: str) -> None:
        """Tell nobody of an incident, or of all of a rule, before an instant."""
        values = {
            "location": self._location,
            "fingerprint": scope,
            "until": until,
            "reason": reason,
            "now": _now(),
        }

        def work(connection: Connection) -> None:
            connection.exec_driver_sql(_SET_SILENCE, values)

        self._transact(work, repeatable=True)

    def progress(self, watcher: str) -> Progress | None:
        """How far a watcher has come; None for one that was never at work."""
        return self._transact(
            lambda c: _progress(c, self._location, watcher), repeatable=True
        )

    def put(self, notice: Notice, channels: Sequence[str]) -> None:
        """Have a notice sent that concerns no incident."""
        self._transact(
            lambda c: outbox.put(c, self._location, notice, channels, _now())
        )

    def claim(self, channel: str) -> Waiting | None:
        """Take the next notice that is due to a channel; None if there is none."""
        return self._transact(
            lambda c: outbox.claim(c, self._location, channel, _now())
        )

    def delivered(self, waiting: Waiting) -> None:
        """Note that the channel took it."""
        self._transact(
            lambda c: outbox.note_delivered(c, waiting, _now()), repeatable=True
        )

    def failed(self, waiting: Waiting, error: str, retry_after: float | None) -> None:
        """Note that the channel did not take it, and when to try again."""
        self._transact(
            lambda c: outbox.note_failed(c, waiting, error, retry_after, _now()),
            repeatable=True,
        )

    def backlogs(self, channels: Sequence[str]) -> list[outbox.Backlog]:
        """What has not got through, by channel."""
        return self._transact(
            lambda c: outbox.backlogs(c, self._location, channels, _now()),
            repeatable=True,
        )

    def forget_old(self) -> None:
        """Delete what was resolved, or delivered, a quarter of a year ago."""

        def work(connection: Connection) -> None:
            before = _now() - _KEPT
            incident_table.forget(connection, self._location, before)
            outbox.forget(connection, self._location, before)

        self._transact(work, repeatable=True)

    def _transact(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        try:
            return self._database.transact(work, repeatable=repeatable)
        except SchemaMissingError:
            # Nothing was written. A first use, or one that is newer than the tables.
            from apex_pipeline.postgres import migrations  # noqa: PLC0415  seldom; loads yoyo

            migrations.apply(self._url, migrations.Part.ALERTS)
        return self._database.transact(work, repeatable=repeatable)


def _decide(
    connection: Connection,
    location: str,
    observations: Sequence[Observation],
    now: datetime,
) -> Decision:
    known = incident_table.read(connection, location, now - MEMORY)
    silences = [silence for silence, _ in _silences(connection, location, now)]
    decision = decide(known, observations, silences, now)
    before = set(known)
    for each in decision.incidents:
        # One index allows one open incident, so the resolved ones, which come first,
        # make room.
        if each not in before:
            incident_table.save(connection, location, each)
    return decision


def _silences(
    connection: Connection, location: str, now: datetime
) -> list[tuple[Silence, str]]:
    values = {"location": location, "now": now}
    rows = connection.exec_driver_sql(_SILENCES, values)
    return [
        (Silence(scope, until.astimezone(UTC)), reason) for scope, until, reason in rows
    ]


def _progress(connection: Connection, location: str, watcher: str) -> Progress | None:
    values = {"location": location, "name": watcher}
    row = connection.exec_driver_sql(_PROGRESS, values).one_or_none()
    return None if row is None else Progress(row[0], row[1].astimezone(UTC))


def _save_progress(
    connection: Connection,
    location: str,
    watcher: str,
    state: Mapping[str, Any],
    now: datetime,
) -> None:
    values = {
        "location": location,
        "name": watcher,
        "state": json.dumps(dict(state), allow_nan=False),
        "now": now,
    }
    connection.exec_driver_sql(_SAVE_PROGRESS, values)


def _now() -> datetime:
    return datetime.now(UTC)
