"""The runs of the sync, as `sync_run` keeps them."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event, Outcome
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.audit.trail import append
from apex_pipeline.errors import SystemicRejectionError
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.texts.redaction import redact, redacted


def token_hit_rate_pct(hits: int, misses: int) -> float | None:
    """Percentage of requests that found a cached token; None without requests."""
    every = hits + misses
    return 100 * hits / every if every else None


class RunStatus(StrEnum):
    """The state or outcome of a run."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """What a run of the sync did, as the comments on the columns of `sync_run` say."""

    rows_read: int = 0
    delivered: int = 0
    rejected: int = 0
    changed: int = 0
    deleted: int = 0
    locked: int = 0
    remaining: int | None = None
    requests: int = 0
    throttled_seconds: float = 0.0
    token_cache_hits: int = 0
    token_cache_misses: int = 0
    oldest_pending_age_seconds: float | None = None
    retry_at: datetime | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """These fields alone, by name."""
        return {each.name: getattr(self, each.name) for each in fields(RunFigures)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(RunFigures):
    """One run of the sync, as stored in `sync_run`.

    The first four are set when a run starts, and ignored when it is finished.
    """

    id: int = 0
    started_at: datetime | None = None
    host: str = ""
    dagster_run_id: str | None = None
    status: RunStatus
    finished_at: datetime | None
    error: str | None = None


_COUNTED = ("rows_read", "delivered", "rejected", "changed", "deleted", "locked")
_KEPT_BY_MARKS = ("delivered", "changed", "deleted", "locked")
_ERROR_SHOWN = 500
_OUTCOMES = {
    RunStatus.SUCCESS: Outcome.DONE,
    RunStatus.FAILURE: Outcome.FAILED,
    RunStatus.INTERRUPTED: Outcome.INTERRUPTED,
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all runs; they only grow."""

    delivered: int
    rejected: int
    throttled_seconds: float
    token_cache_hits: int
    token_cache_misses: int

    @property
    def token_hit_rate_pct(self) -> float | None:
        """Requests that found a cached token, in percent; None without requests."""
        return token_hit_rate_pct(self.token_cache_hits, self.token_cache_misses)


_INTERRUPT_RUNS = """
    UPDATE sync_run
    SET status = 'interrupted', finished_at = %(at)s,
        error = 'The process ended without reporting a result.'
    WHERE status = 'running'
    RETURNING id, host, dagster_run_id, actor, slice, delivered, changed, deleted, locked
"""

_START_RUN = """
    INSERT INTO sync_run (started_at, host, dagster_run_id, actor, slice)
    VALUES (%(at)s, %(host)s, %(dagster_run_id)s, %(actor)s, %(slice)s)
    RETURNING id
"""

_FINISH_RUN = """
    UPDATE sync_run
    SET status = %(status)s,
        finished_at = %(finished_at)s,
        rows_read = %(rows_read)s,
        delivered = %(delivered)s,
        rejected = %(rejected)s,
        changed = %(changed)s,
        deleted = %(deleted)s,
        locked = %(locked)s,
        remaining = %(remaining)s,
        requests = %(requests)s,
        throttled_seconds = %(throttled_seconds)s,
        token_cache_hits = %(token_cache_hits)s,
        token_cache_misses = %(token_cache_misses)s,
        oldest_pending_age_seconds = %(oldest_pending_age_seconds)s,
        retry_at = %(retry_at)s,
        error = %(error)s
    WHERE id = %(id)s AND status = 'running'
    RETURNING id, host, dagster_run_id, actor, slice
"""

_COUNT_MARKS = """
    UPDATE sync_run
    SET delivered = delivered + %(marked)s,
        changed = changed + %(changed)s,
        deleted = deleted + %(deleted)s,
        locked = locked + %(locked)s
    WHERE id = %(id)s
"""

_RUNS = """
    SELECT id, started_at, host, dagster_run_id, status, finished_at, rows_read,
        delivered, rejected, changed, deleted, locked, remaining, requests,
        throttled_seconds, token_cache_hits, token_cache_misses,
        oldest_pending_age_seconds, retry_at, error
    FROM sync_run
"""

_LAST_RUNS = f"{_RUNS} ORDER BY id DESC LIMIT %(limit)s"

# The last successes are included, however old they are.
_TELLING = """
    WHERE id IN (
        (SELECT id FROM sync_run ORDER BY id DESC LIMIT 300)
        UNION (
            SELECT id FROM sync_run WHERE status = 'success' ORDER BY id DESC LIMIT 1
        )
        UNION (
            SELECT id FROM sync_run WHERE status = 'success' AND remaining = 0
            ORDER BY id DESC LIMIT 1
        )
    )
"""

_TELLING_RUNS = f"{_RUNS} {_TELLING} ORDER BY id DESC"

_TOTALS = """
    SELECT coalesce(sum(delivered), 0), coalesce(sum(rejected), 0),
        coalesce(sum(throttled_seconds), 0), coalesce(sum(token_cache_hits), 0),
        coalesce(sum(token_cache_misses), 0)
    FROM sync_run
"""

# A day has fewer runs. The key finds them; a search by time would read the whole table.
_TOTALS_SINCE = _TOTALS.replace(
    "FROM sync_run",
    "FROM (SELECT * FROM sync_run ORDER BY id DESC LIMIT 30000) AS lately "
    "WHERE started_at >= %(since)s",
)


def start_run(
    connection: Connection,
    at: datetime,
    author: Author,
    dagster_run_id: str | None,
    part: str | None = None,
) -> int:
    """Open a run, and close those that a dead process left open, with their events.

    Args:
        connection: The transaction.
        at: Now.
        author: Who starts it.
        dagster_run_id: The run in Dagster, if it is one.
        part: The rows that it sends again, in words; None for pending rows.
    """
    ended = connection.exec_driver_sql(_INTERRUPT_RUNS, {"at": at}).mappings()
    interrupted = [dict(row) for row in ended]
    host = socket.gethostname()
    values = {
        "at": at,
        "host": host,
        "dagster_run_id": dagster_run_id,
        "actor": author.actor,
        "slice": part,
    }
    number: int = connection.exec_driver_sql(_START_RUN, values).scalar_one()
    close_abandoned(connection)
    for row in sorted(interrupted, key=lambda row: int(row["id"])):
        run = RunRecord(
            status=RunStatus.INTERRUPTED,
            finished_at=at,
            **{name: row[name] for name in _KEPT_BY_MARKS},
        )
        append(connection, _event(row, run), uuid4())
    return number


def finish_run(connection: Connection, run_id: int, record: RunRecord) -> Event | None:
    """Store the results of a run; return its event for the audit trail.

    None if the run was closed before, by this call or as interrupted.
    """
    values = record.figures | {
        "status": record.status,
        "finished_at": record.finished_at,
        "error": record.error,
    }
    ended = connection.exec_driver_sql(_FINISH_RUN, redacted(values) | {"id": run_id})
    row = ended.mappings().one_or_none()
    return None if row is None else _event(dict(row), record)


def _event(row: Mapping[str, Any], record: RunRecord) -> Event:
    """A run's one event, from what the ledger kept of its start, and its results."""
    subject: dict[str, Json] = {"sync_run": row["id"]}
    if row["slice"] is not None:
        subject["slice"] = row["slice"]
    if record.error is not None:
        # What follows quotes a row, and the trail holds no values.
        told, _, _ = record.error.partition(SystemicRejectionError.OF_A_ROW)
        subject["error"] = redact(told)[:_ERROR_SHOWN]
    # Runs before the audit trail have no actor.
    actor = row["actor"] or f"sync on {row['host']}"
    return Event(
        Action.SYNC if row["slice"] is None else Action.RESEND,
        Author(actor, row["dagster_run_id"]),
        subject,
        {name: getattr(record, name) for name in _COUNTED},
        outcome=_OUTCOMES[record.status],
    )


def count_marks(connection: Connection, run_id: int, marks: Marks) -> None:
    """Add to an open run's counts, so a killed run is counted too."""
    values = {
        "id": run_id,
        "marked": marks.marked,
        "changed": marks.changed,
        "deleted": marks.deleted,
        "locked": marks.locked,
    }
    connection.exec_driver_sql(_COUNT_MARKS, values)


def last_runs(connection: Connection, limit: int) -> list[RunRecord]:
    """Read the last runs, newest first."""
    return _runs(connection, _LAST_RUNS, {"limit": limit})


def telling_runs(connection: Connection) -> list[RunRecord]:
    """Read the last runs, newest first.

    The last success, and the last run that left nothing pending, are always included.
    """
    return _runs(connection, _TELLING_RUNS, {})


def _runs(
    connection: Connection, statement: str, values: dict[str, int]
) -> list[RunRecord]:
    rows = connection.exec_driver_sql(statement, values).mappings()
    return [RunRecord(**{**row, "status": RunStatus(row["status"])}) for row in rows]


def totals(connection: Connection, *, since: datetime | None = None) -> Totals:
    """Sum up all runs, or those that started since an instant."""
    if since is None:
        return Totals(*connection.exec_driver_sql(_TOTALS).one())
    return Totals(*connection.exec_driver_sql(_TOTALS_SINCE, {"since": since}).one())
