"""Notices to deliver: one row for each notice and channel.

Delivery is at least once. A sender leases a notice. If it records no outcome before the
lease ends, it is taken for dead, and another sender delivers the notice again. Channels
are independent of each other.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Row

from apex_pipeline.monitoring.alerts.notice import Notice, NoticeKind, Severity
from apex_pipeline.texts.redaction import redacted
from apex_pipeline.texts.storable_text import storable_document

_Result = TypeVar("_Result")

LEASE = timedelta(minutes=3)
"""Longer than any channel takes to answer."""

_FIRST_PAUSE = timedelta(seconds=20)
_LONGEST_PAUSE = timedelta(minutes=15)
_LONGEST_WISH = timedelta(hours=1)

MAX_AGE = timedelta(days=3)
"""Undelivered notices expire after this long; other channels report it."""

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

# An incident's notices go out in their order.
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

# Unless another sender has taken it over.
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

STUCK_AFTER = timedelta(minutes=5)
"""After this long, a waiting notice counts as stuck."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Undelivered notices of one channel.

    Attributes:
        waiting: Notices still to be delivered.
        given_up: Notices that expired within the last day.
        oldest_at: Time of the oldest waiting notice (aware, UTC).
        is_serious: Whether an error has been waiting for longer than `STUCK_AFTER`.
        error: Why the oldest was not delivered.
    """

    channel: str
    waiting: int
    given_up: int
    oldest_at: datetime | None
    is_serious: bool
    error: str | None


class Transact(Protocol):
    """Runs work in one transaction of the journal, as `Database.transact` does."""

    def __call__(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        """Run it; `repeatable` says whether running it twice is harmless."""


class StoredOutbox:
    """A location's notices that wait for its channels.

    Raises:
        DatabaseError: From any method, if the Postgres is not usable.
    """

    def __init__(self, transact: Transact, location: str) -> None:
        self._transact = transact
        self._location = location

    def put(self, notice: Notice, channels: Sequence[str]) -> None:
        """Queue a notice that concerns no incident."""
        self._transact(lambda c: put(c, self._location, notice, channels, _now()))

    def claim(self, channel: str) -> Notice | None:
        """Lease the next notice that is due, for `LEASE`; None if there is none."""
        now = _now()
        values = {
            "location": self._location,
            "channel": channel,
            "now": now,
            "lease": now + LEASE,
            "oldest": now - MAX_AGE,
        }

        def work(connection: Connection) -> Notice | None:
            connection.exec_driver_sql(_GIVE_UP, values)
            row = connection.exec_driver_sql(_CLAIM, values).mappings().one_or_none()
            return None if row is None else _notice(row)

        return self._transact(work)

    def delivered(self, notice: Notice) -> None:
        """Record that the channel accepted it."""
        values = {"id": notice.number, "now": _now()}
        self._transact(lambda c: c.exec_driver_sql(_DELIVERED, values), repeatable=True)

    def failed(self, notice: Notice, error: str, retry_after: float | None) -> None:
        """Record why it failed, and when to retry."""
        values = {
            "id": notice.number,
            "attempts": notice.attempts,
            "error": error,
            "next": _now() + pause(notice.attempts, retry_after),
        }
        self._transact(
            lambda c: c.exec_driver_sql(_FAILED, redacted(values)), repeatable=True
        )

    def backlogs(self, channels: Sequence[str]) -> list[Backlog]:
        """Undelivered notices, by channel; channels without any are left out."""
        now = _now()
        values = {
            "location": self._location,
            "channels": list(channels),
            "since": now - timedelta(days=1),
            "late": now - STUCK_AFTER,
        }
        return self._transact(
            lambda c: [_backlog(row) for row in c.exec_driver_sql(_BACKLOGS, values)],
            repeatable=True,
        )


def put(
    connection: Connection,
    location: str,
    notice: Notice,
    channels: Sequence[str],
    now: datetime,
) -> None:
    """Queue a notice for each of these channels."""
    incident = dict(notice.facts).get("Incident", "")
    for channel in channels:
        if incident == f"channel-failing/{channel}":
            # Its own recovery needs no notice through itself.
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
            "facts": json.dumps(storable_document(notice.facts), allow_nan=False),
            "link": notice.link,
            "at": notice.at,
            "now": now,
        }
        connection.exec_driver_sql(_PUT, redacted(values))


def pause(attempts: int, retry_after: float | None) -> timedelta:
    """How long to wait before a retry: doubles each time, within bounds.

    Args:
        attempts: Failed attempts, at least 1.
        retry_after: Seconds that the other end asked to wait.
    """
    doubled: timedelta = _FIRST_PAUSE * 2 ** min(attempts - 1, 10)
    own = min(doubled, _LONGEST_PAUSE)
    if retry_after is None:
        return own
    wish = timedelta(seconds=min(retry_after, _LONGEST_WISH.total_seconds()))
    return max(own, wish)


def forget(connection: Connection, location: str, before: datetime) -> None:
    """Delete what was delivered or expired before an instant."""
    connection.exec_driver_sql(_FORGET, {"location": location, "before": before})


def _notice(row: Mapping[Any, Any]) -> Notice:
    return Notice(
        key=row["key"],
        kind=NoticeKind(row["kind"]),
        severity=Severity(row["severity"]),
        title=row["title"],
        cause=row["cause"],
        remedy=row["remedy"],
        facts=tuple((name, text) for name, text in row["facts"]),
        link=row["link"],
        at=row["at"].astimezone(UTC),
        number=row["id"],
        attempts=row["attempts"],
    )


def _backlog(row: Row[Any]) -> Backlog:
    channel, waiting, given_up, oldest, is_serious, error = row
    oldest_at = oldest.astimezone(UTC) if oldest else None
    return Backlog(channel, waiting, given_up, oldest_at, bool(is_serious), error)


def _now() -> datetime:
    return datetime.now(UTC)
