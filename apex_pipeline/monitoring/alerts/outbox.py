"""Notices on their way: one row for each notice and channel, until the channel took it.

Delivered at least once. Whoever sends one has it for a while; if nothing was noted by
then, its sender is dead, and another sends it again. One channel knows nothing of the
others.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity
from apex_pipeline.redaction import redact, redacted

LEASE = timedelta(minutes=3)
"""Longer than any channel takes to answer."""

_FIRST_PAUSE = timedelta(seconds=20)
_LONGEST_PAUSE = timedelta(minutes=15)
_LONGEST_WISH = timedelta(hours=1)

MAX_AGE = timedelta(days=3)
"""What nobody could be told for so long is given up, which is told by other channels."""

_PUT = """
    INSERT INTO apex_alerts.outbox (
        location, key, channel, incident, kind, severity, title, cause, remedy, facts,
        link, at, next_attempt_at
    )
    VALUES (
        %(location)s, %(key)s, %(channel)s, %(incident)s, %(kind)s, %(severity)s,
        %(title)s, %(cause)s, %(remedy)s, %(facts)s, %(link)s, %(at)s, %(now)s
    )
    ON CONFLICT (location, key, channel) DO NOTHING
"""

_GIVE_UP = """
    UPDATE apex_alerts.outbox
    SET given_up_at = %(now)s
    WHERE location = %(location)s AND channel = %(channel)s AND at < %(oldest)s
        AND delivered_at IS NULL AND given_up_at IS NULL
"""

# What was found is told before it is told to be over.
_CLAIM = """
    UPDATE apex_alerts.outbox
    SET attempts = attempts + 1, next_attempt_at = %(lease)s
    WHERE id = (
        SELECT id FROM apex_alerts.outbox AS due
        WHERE location = %(location)s AND channel = %(channel)s
            AND delivered_at IS NULL AND given_up_at IS NULL
            AND next_attempt_at <= %(now)s
            AND NOT EXISTS (
                SELECT FROM apex_alerts.outbox AS earlier
                WHERE earlier.location = due.location
                    AND earlier.channel = due.channel
                    AND earlier.incident = due.incident
                    AND earlier.id < due.id
                    AND earlier.delivered_at IS NULL AND earlier.given_up_at IS NULL
            )
        ORDER BY id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, attempts, key, kind, severity, title, cause, remedy, facts, link, at
"""

_DELIVERED = """
    UPDATE apex_alerts.outbox
    SET delivered_at = %(now)s, given_up_at = NULL, error = NULL
    WHERE id = %(id)s
"""

# Not if another took it over meanwhile.
_FAILED = """
    UPDATE apex_alerts.outbox
    SET next_attempt_at = %(next)s, error = %(error)s
    WHERE id = %(id)s AND attempts = %(attempts)s
"""

_BACKLOGS = """
    SELECT channel,
        count(*) FILTER (WHERE given_up_at IS NULL),
        count(*) FILTER (WHERE given_up_at IS NOT NULL),
        min(at) FILTER (WHERE given_up_at IS NULL),
        bool_or(severity = 'error' AND given_up_at IS NULL AND at < %(late)s),
        (array_agg(error ORDER BY id) FILTER (WHERE error IS NOT NULL))[1]
    FROM apex_alerts.outbox
    WHERE location = %(location)s AND channel = ANY(%(channels)s)
        AND delivered_at IS NULL
        AND (given_up_at IS NULL OR given_up_at > %(since)s)
    GROUP BY channel
    ORDER BY channel
"""

_FORGET = """
    DELETE FROM apex_alerts.outbox
    WHERE location = %(location)s
        AND (delivered_at < %(before)s OR given_up_at < %(before)s)
"""

LATE = timedelta(minutes=5)
"""After so long, a notice that waits is no longer on its way but stuck."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that somebody has taken to send.

    Attributes:
        attempts: Which attempt it is, the first being 1.
    """

    id: int
    attempts: int
    notice: Notice


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not got through by one channel.

    Attributes:
        waiting: Notices that are still to be delivered.
        given_up: Those that were given up within the last day.
        oldest_at: When the oldest that waits came to be known (aware, UTC).
        is_serious: Whether an error is among those that wait for longer than `LATE`.
        error: Why the oldest did not get through.
    """

    channel: str
    waiting: int
    given_up: int
    oldest_at: datetime | None
    is_serious: bool
    error: str | None


def put(
    connection: Connection,
    location: str,
    notice: Notice,
    channels: Sequence[str],
    now: datetime,
) -> None:
    """Have a notice sent by each of these channels."""
    incident = dict(notice.facts).get("Incident", "")
    for channel in channels:
        if incident == f"channel-failing/{channel}":
            # That it works again is seen by itself.
            continue
        values = {
            "location": location,
            "key": notice.key,
            "channel": channel,
            "incident": incident,
            "kind": notice.kind.value,
            "severity": notice.severity.value,
            "title": notice.title,
            "cause": notice.cause,
            "remedy": notice.remedy,
            "facts": json.dumps(notice.facts, allow_nan=False),
            "link": notice.link,
            "at": notice.at,
            "now": now,
        }
        connection.exec_driver_sql(_PUT, redacted(values))


def claim(
    connection: Connection, location: str, channel: str, now: datetime
) -> Waiting | None:
    """Take the next notice that is due, for the length of `LEASE`."""
    values = {
        "location": location,
        "channel": channel,
        "now": now,
        "lease": now + LEASE,
        "oldest": now - MAX_AGE,
    }
    connection.exec_driver_sql(_GIVE_UP, values)
    row = connection.exec_driver_sql(_CLAIM, values).mappings().one_or_none()
    if row is None:
        return None
    notice = Notice(
        key=row["key"],
        kind=NoticeKind(row["kind"]),
        severity=Severity(row["severity"]),
        title=row["title"],
        cause=row["cause"],
        remedy=row["remedy"],
        facts=tuple((name, text) for name, text in row["facts"]),
        link=row["link"],
        at=row["at"].astimezone(UTC),
    )
    return Waiting(row["id"], row["attempts"], notice)


def note_delivered(connection: Connection, waiting: Waiting, now: datetime) -> None:
    """Note that the channel took it."""
    connection.exec_driver_sql(_DELIVERED, {"id": waiting.id, "now": now})


def note_failed(
    connection: Connection,
    waiting: Waiting,
    error: str,
    retry_after: float | None,
    now: datetime,
) -> None:
    """Note why it was not taken, and when it is due again."""
    values = {
        "id": waiting.id,
        "attempts": waiting.attempts,
        "error": redact(error),
        "next": now + pause(waiting.attempts, retry_after),
    }
    connection.exec_driver_sql(_FAILED, values)


def pause(attempts: int, retry_after: float | None) -> timedelta:
    """How long to wait after so many attempts: twice as long each time, and bounded.

    Args:
        attempts: Those that failed, 1 or more.
        retry_after: Seconds that the other end asked for.
    """
    doubled: timedelta = _FIRST_PAUSE * 2 ** min(attempts - 1, 10)
    own = min(doubled, _LONGEST_PAUSE)
    if retry_after is None:
        return own
    wish = timedelta(seconds=min(retry_after, _LONGEST_WISH.total_seconds()))
    return max(own, wish)


def backlogs(
    connection: Connection, location: str, channels: Sequence[str], now: datetime
) -> list[Backlog]:
    """What has not got through, by channel; a channel without any is left out."""
    values = {
        "location": location,
        "channels": list(channels),
        "since": now - timedelta(days=1),
        "late": now - LATE,
    }
    rows = connection.exec_driver_sql(_BACKLOGS, values)
    return [
        Backlog(
            channel,
            waiting,
            given_up,
            oldest.astimezone(UTC) if oldest else None,
            bool(is_serious),
            error,
        )
        for channel, waiting, given_up, oldest, is_serious, error in rows
    ]


def forget(connection: Connection, location: str, before: datetime) -> None:
    """Delete what was done with before an instant."""
    connection.exec_driver_sql(_FORGET, {"location": location, "before": before})
