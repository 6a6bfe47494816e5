"""Incidents, silences and notices in Postgres, beside Dagster's storage.

One transaction, under a lock, writes the incidents, the notices and the watcher's
progress. If a process is killed before the end, nothing was decided; if two processes
find the same problem, the second finds its incident open.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from sqlalchemy import Connection

from apex_pipeline.errors import SchemaMissingError
from apex_pipeline.monitoring.alerts import outbox
from apex_pipeline.monitoring.alerts.incidents import MEMORY, Incident, decide
from apex_pipeline.monitoring.alerts.notice import Notice, Observation, Severity
from apex_pipeline.monitoring.alerts.outbox import StoredOutbox
from apex_pipeline.monitoring.alerts.silence_table import StoredSilences, in_force
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import DEFAULT_LOCATION
from apex_pipeline.texts.redaction import redacted
from apex_pipeline.texts.storable_text import storable_document

_Result = TypeVar("_Result")

VARIABLE = "DAGSTER_POSTGRES_URL"

NO_JOURNAL = (
    "Alerts need DAGSTER_POSTGRES_URL, the Postgres of Dagster's storage, to store "
    "incidents. Without it, no alerts are sent."
)

_KEPT = timedelta(days=90)

# A lock that needs a privilege on our tables, since any login may hold an advisory lock.
_LOCK = "LOCK TABLE apex_alerts.progress IN SHARE ROW EXCLUSIVE MODE"

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


_COLUMNS = tuple(field.name for field in fields(Incident))

_INCIDENTS = f"""
    SELECT {", ".join(_COLUMNS)}
    FROM apex_alerts.incident
    WHERE location = %(location)s
        AND (resolved_at IS NULL OR resolved_at > %(since)s)
    ORDER BY opened_at, fingerprint
"""  # noqa: S608  constants

_SAVE_INCIDENT = f"""
    INSERT INTO apex_alerts.incident (location, {", ".join(_COLUMNS)})
    VALUES (%(location)s, {", ".join(f"%({name})s" for name in _COLUMNS)})
    ON CONFLICT (location, fingerprint, opened_at) DO UPDATE
    SET {
    ", ".join(
        f"{name} = excluded.{name}"
        for name in _COLUMNS
        if name not in {"fingerprint", "opened_at"}
    )
}
"""  # noqa: S608  constants

_FORGET_INCIDENTS = """
    DELETE FROM apex_alerts.incident
    WHERE location = %(location)s AND resolved_at < %(before)s
"""


@dataclass(frozen=True, slots=True)
class WatcherProgress:
    """A watcher's state, and when it last ran (aware, UTC)."""

    state: Mapping[str, Any]
    updated_at: datetime


class Journal:
    """A code location's incidents in Postgres; creates missing tables.

    Several locations may share the Postgres; each sees only its own incidents.

    Raises:
        DatabaseError: From any method, if the Postgres is not usable.
    """

    def __init__(
        self,
        url: str,
        location: str = DEFAULT_LOCATION,
        *,
        wait_seconds: float = 5.0,
        statement_seconds: float = 25.0,
    ) -> None:
        """Prepare; the first use connects.

        Args:
            url: DAGSTER_POSTGRES_URL.
            location: Dagster code location, with its tenant.
            wait_seconds: Timeout for connecting.
            statement_seconds: Timeout of one statement. A look may hold the lock for
                longer; others then retry later.

        Raises:
            ConfigError: This is not the URL of a Postgres database.
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
        self.outbox = StoredOutbox(self._transact, location)
        self.silences = StoredSilences(self._transact, location)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def record(
        self,
        watcher: str,
        look: Callable[
            [WatcherProgress | None], tuple[Sequence[Observation], Mapping[str, Any]]
        ],
        channels: Sequence[str],
        now: datetime,
    ) -> tuple[Notice, ...]:
        """Let a watcher look, and put the notices that follow into the outbox.

        Args:
            watcher: Name of the watcher.
            look: Called under the lock with the watcher's progress; returns its
                observations and new state.
            channels: Names of the channels for notices.
            now: Current time, timezone-aware.
        """

        def work(connection: Connection) -> tuple[Notice, ...]:
            connection.exec_driver_sql(_LOCK)
            seen, state = look(_progress(connection, self._location, watcher))
            notices = _decide(connection, self._location, seen, now)
            for notice in notices:
                outbox.put(connection, self._location, notice, channels, now)
            _save_progress(connection, self._location, watcher, state, now)
            return notices

        return self._transact(work)

    def adopt(self, incidents: Sequence[Incident]) -> None:
        """Store incidents that were decided on while the journal was down."""

        def work(connection: Connection) -> None:
            connection.exec_driver_sql(_LOCK)
            found = _read_incidents(connection, self._location, _now())
            known = {each.fingerprint for each in found}
            for each in incidents:
                if each.is_open and each.fingerprint not in known:
                    _save_incident(connection, self._location, each)

        self._transact(work)

    def incidents(self, *, resolved_within: timedelta = timedelta()) -> list[Incident]:
        """Open incidents, and those resolved lately, oldest first."""
        since = _now() - resolved_within
        return self._transact(
            lambda c: _read_incidents(c, self._location, since), repeatable=True
        )

    def progress(self, watcher: str) -> WatcherProgress | None:
        """A watcher's progress; None if it never ran."""
        return self._transact(
            lambda c: _progress(c, self._location, watcher), repeatable=True
        )

    def forget_old(self) -> None:
        """Delete what was resolved or delivered more than 90 days ago."""

        def work(connection: Connection) -> None:
            before = _now() - _KEPT
            values = {"location": self._location, "before": before}
            connection.exec_driver_sql(_FORGET_INCIDENTS, values)
            outbox.forget(connection, self._location, before)

        self._transact(work, repeatable=True)

    def _transact(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        try:
            return self._database.transact(work, repeatable=repeatable)
        except SchemaMissingError:
            # Nothing was written: this is the first use, or the tables are of an older version.
            from apex_pipeline.postgres import migrations  # noqa: PLC0415  seldom; loads yoyo

            migrations.apply(self._url, migrations.MigrationFolder.ALERTS)
        return self._database.transact(work, repeatable=repeatable)


def _decide(
    connection: Connection,
    location: str,
    observations: Sequence[Observation],
    now: datetime,
) -> tuple[Notice, ...]:
    known = _read_incidents(connection, location, now - MEMORY)
    silences = [silence for silence, _ in in_force(connection, location, now)]
    incidents, notices = decide(known, observations, silences, now)
    before = set(known)
    for each in incidents:
        # An index allows one open incident for each fingerprint. The resolved ones come
        # first and make room.
        if each not in before:
            _save_incident(connection, location, each)
    return notices


def _read_incidents(
    connection: Connection, location: str, since: datetime
) -> list[Incident]:
    values = {"location": location, "since": since}
    rows = connection.exec_driver_sql(_INCIDENTS, values).mappings()
    return [_incident(row) for row in rows]


def _save_incident(connection: Connection, location: str, incident: Incident) -> None:
    values = {name: getattr(incident, name) for name in _COLUMNS} | {
        "location": location,
        "severity": incident.severity.value,
        "facts": json.dumps(storable_document(incident.facts), allow_nan=False),
        "inhibits": sorted(incident.inhibits),
    }
    connection.exec_driver_sql(_SAVE_INCIDENT, redacted(values))


def _incident(row: Mapping[Any, Any]) -> Incident:
    values = {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
    return Incident(
        **values
        | {
            "severity": Severity(row["severity"]),
            "facts": tuple((name, text) for name, text in row["facts"]),
            "inhibits": frozenset(row["inhibits"]),
        }
    )


def _progress(
    connection: Connection, location: str, watcher: str
) -> WatcherProgress | None:
    values = {"location": location, "name": watcher}
    row = connection.exec_driver_sql(_PROGRESS, values).one_or_none()
    return None if row is None else WatcherProgress(row[0], row[1].astimezone(UTC))


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
        "state": json.dumps(storable_document(state), allow_nan=False),
        "now": now,
    }
    connection.exec_driver_sql(_SAVE_PROGRESS, values)


def _now() -> datetime:
    return datetime.now(UTC)
