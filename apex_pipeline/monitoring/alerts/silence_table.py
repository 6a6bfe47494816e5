"""The table of silences, and the events about them that wait for the audit trail.

The trail is in another database. So the event is kept here, in the transaction of the
silence, until the trail has taken it.
"""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.monitoring.alerts.incidents import Silence

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


def put(
    connection: Connection,
    location: str,
    silence: Silence,
    *,
    reason: str,
    author: Author,
    now: datetime,
) -> None:
    """Store a silence, in place of an earlier one of the same scope, with its event."""
    until = silence.until
    subject: dict[str, Json] = {"incident": silence.scope, "until": until.isoformat()}
    event = Event(Action.SILENCE, author, subject, reason=reason or None)
    values = {
        "location": location,
        "fingerprint": silence.scope,
        "until": until,
        "reason": reason,
        "now": now,
        "act": uuid4(),
        "event": event.as_json(),
    }
    connection.exec_driver_sql(_SET_SILENCE, values)
    connection.exec_driver_sql(_KEEP_EVENT, values)


def in_force(
    connection: Connection, location: str, now: datetime
) -> list[tuple[Silence, str]]:
    """The silences that end later than now, each with its reason."""
    values = {"location": location, "now": now}
    rows = connection.exec_driver_sql(_SILENCES, values)
    return [
        (Silence(scope, until.astimezone(UTC)), reason) for scope, until, reason in rows
    ]


def unaudited(connection: Connection, location: str) -> list[tuple[UUID, Event]]:
    """Events that wait for the audit trail, oldest first."""
    rows = connection.exec_driver_sql(_UNAUDITED, {"location": location})
    return [(act, Event.of_json(kept)) for act, kept in rows]


def forget_event(connection: Connection, act: UUID) -> None:
    """Delete an event that the audit trail has taken."""
    connection.exec_driver_sql(_AUDITED, {"act": act})
