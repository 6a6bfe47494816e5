"""How much of Dataverse's limits is used, and until when it wants no request; kept in Postgres."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

_PACING = "SELECT state FROM dataverse_pacing WHERE key = %(key)s"

# Never longer than the pause that the service asked for, counted by Postgres' clock. Our
# clock may have been wrong when this was written; if Postgres' was, there is no result.
_RETRY_AT = """
    SELECT least(
        retry_at,
        updated_at + coalesce((state ->> 'paused_for')::float8, 3600) * interval '1 s'
    )
    FROM dataverse_pacing
    WHERE key = %(key)s AND retry_at IS NOT NULL AND updated_at <= clock_timestamp()
"""

_SAVE_PACING = """
    INSERT INTO dataverse_pacing (key, state, retry_at, updated_at)
    VALUES (%(key)s, %(state)s, %(retry_at)s, now())
    ON CONFLICT (key) DO UPDATE
    SET state = excluded.state,
        retry_at = excluded.retry_at,
        updated_at = excluded.updated_at
"""


def pacing(connection: Connection, key: str) -> dict[str, object] | None:
    """Read the stored usage of Dataverse's limits."""
    found = connection.exec_driver_sql(_PACING, {"key": key}).scalar_one_or_none()
    return None if found is None else dict(found)


def save_pacing(
    connection: Connection,
    key: str,
    state: Mapping[str, object],
    retry_at: datetime | None,
) -> None:
    """Store the usage of Dataverse's limits, and until when to wait."""
    values = {
        "key": key,
        "state": json.dumps(dict(state), allow_nan=False),
        "retry_at": retry_at,
    }
    connection.exec_driver_sql(_SAVE_PACING, values)


def retry_at(connection: Connection, key: str) -> datetime | None:
    """Read until when Dataverse accepts no requests."""
    found: datetime | None = connection.exec_driver_sql(
        _RETRY_AT, {"key": key}
    ).scalar_one_or_none()
    return found


@dataclass(frozen=True, slots=True)
class StoredPause:
    """Until when no request is wanted (aware), and why; empty if that was not said.

    Attributes:
        is_dataverses: False if a gateway in its place asked for it.
    """

    until: datetime
    reason: str
    is_dataverses: bool = True

    def __str__(self) -> str:
        """The pause in words, as the beginning of a sentence or all of it."""
        reason = f" ({self.reason})" if self.reason else ""
        until = self.until.astimezone(UTC)
        who = "Dataverse" if self.is_dataverses else "Something in Dataverse's place"
        return f"{who} asked for no requests before {until:%H:%M:%S} UTC{reason}"


def open_pause(
    connection: Connection, keys: Sequence[str], now: datetime
) -> StoredPause | None:
    """Read the pause that lasts at *now*; None while at least one budget is open.

    Args:
        connection: In a transaction.
        keys: The budgets, one for each application user.
        now: Aware.
    """
    pauses = []
    for key in keys:
        until = retry_at(connection, key)
        if until is None or until <= now:
            return None
        kept = pacing(connection, key) or {}
        pauses.append(
            StoredPause(
                until,
                str(kept.get("paused_by") or ""),
                bool(kept.get("is_paused_by_dataverse", True)),
            )
        )
    return min(pauses, key=lambda pause: pause.until, default=None)
