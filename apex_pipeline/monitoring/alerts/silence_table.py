"""The table of silences, and the events about them that wait for the audit trail.

The trail is in another database. So the event is kept here, in the transaction of the
silence, until the trail has taken it.
"""

import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.monitoring.alerts.incidents import Silence
from apex_pipeline.monitoring.alerts.outbox import Transact

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

_KEEP_EVENT = """
    INSERT INTO apex_alerts.unaudited (act, location, event, created_at)
    VALUES (%(act)s, %(location)s, %(event)s, %(now)s)
    ON CONFLICT DO NOTHING
"""

_UNAUDITED = """
    SELECT act, event FROM apex_alerts.unaudited WHERE location = %(location)s
    ORDER BY created_at
"""

_AUDITED = "DELETE FROM apex_alerts.unaudited WHERE act = %(act)s"


class StoredSilences:
    """A location's silences.

    Raises:
        DatabaseError: From any method, if the Postgres is not usable.
    """

    def __init__(self, transact: Transact, location: str) -> None:
        self._transact = transact
        self._location = location

    def in_force(self) -> list[tuple[Silence, str]]:
        """The silences in force, each with its reason."""
        return self._transact(
            lambda c: in_force(c, self._location, _now()), repeatable=True
        )

    def put(
        self, scope: str, until: datetime, reason: str, author: Author | None = None
    ) -> None:
        """Send no notices about an incident, or a rule, before an instant.

        Replaces an earlier silence of the same scope. The author is by default the user
        of this process. `unaudited` hands the event on to the audit trail.
        """
        by = author or process_author(os.environ)
        subject: dict[str, Json] = {"incident": scope, "until": until.isoformat()}
        event = Event(Action.SILENCE, by, subject, reason=reason or None)
        values = {
            "location": self._location,
            "fingerprint": scope,
            "until": until,
            "reason": reason,
            "now": _now(),
            "act": uuid4(),
            "event": event.as_json(),
        }

        def work(connection: Connection) -> None:
            connection.exec_driver_sql(_SET_SILENCE, values)
            connection.exec_driver_sql(_KEEP_EVENT, values)

        self._transact(work, repeatable=True)

    def unaudited(self) -> list[tuple[UUID, Event]]:
        """Events that wait for the audit trail, oldest first."""
        values = {"location": self._location}
        rows = self._transact(
            lambda c: c.exec_driver_sql(_UNAUDITED, values).all(), repeatable=True
        )
        return [(act, Event.of_json(kept)) for act, kept in rows]

    def audited(self, act: UUID) -> None:
        """Delete an event that the audit trail has taken."""
        values = {"act": act}
        self._transact(lambda c: c.exec_driver_sql(_AUDITED, values), repeatable=True)


def in_force(
    connection: Connection, location: str, now: datetime
) -> list[tuple[Silence, str]]:
    """The silences that end later than now, each with its reason."""
    values = {"location": location, "now": now}
    rows = connection.exec_driver_sql(_SILENCES, values)
    return [
        (Silence(scope, until.astimezone(UTC)), reason) for scope, until, reason in rows
    ]


def _now() -> datetime:
    return datetime.now(UTC)
