"""Stored progress of reconciliation in an environment, and the ledger of its runs."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection

from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.reconcile.findings import FindingKind
from apex_pipeline.texts.redaction import redacted


@dataclass(slots=True)
class PassProgress:
    """One row of `reconciliation_progress`; the table's comments explain the columns."""

    tracking_link: str | None = None
    is_tracking: bool = False
    exported_since: datetime | None = None
    pass_is_full: bool = True
    pass_started_at: datetime | None = None
    pass_second: int | None = None
    pass_after_id: str | None = None
    pass_rows: int = 0
    last_pass_finished_at: datetime | None = None
    last_pass_rows: int = 0

    def begin_pass(self, at: datetime | None, *, is_full: bool) -> None:
        """Return to the start of the table."""
        self.pass_is_full = is_full
        self.pass_started_at = at
        self.pass_second = None
        self.pass_after_id = None
        self.pass_rows = 0

    def finish_pass(self, at: datetime, *, next_is_full: bool) -> None:
        """Note the end of a pass over all rows; the next run starts another.

        Args:
            at: The time.
            next_is_full: Whether the next pass should run to its end at once.
        """
        self.last_pass_finished_at = at
        self.last_pass_rows = self.pass_rows
        self.begin_pass(None, is_full=next_is_full)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationRun:
    """One row of `reconciliation_run`; the table's comments explain the columns."""

    id: int = 0
    started_at: datetime | None = None
    dagster_run_id: str | None = None
    status: RunStatus
    finished_at: datetime | None
    is_complete: bool = False
    rows_compared: int = 0
    changes_read: int = 0
    counts: Mapping[FindingKind, int] | None
    repaired: int = 0
    adopted: int = 0
    requests: int = 0
    throttled_seconds: float = 0.0
    note: str | None = None
    error: str | None = None


_COLUMNS = [field.name for field in fields(PassProgress)]

_PROGRESS = f"""
    SELECT {", ".join(_COLUMNS)}
    FROM reconciliation_progress
    WHERE resource = %(resource)s
"""  # noqa: S608  constants

_SAVE = f"""
    INSERT INTO reconciliation_progress (resource, {", ".join(_COLUMNS)})
    VALUES (%(resource)s, {", ".join(f"%({name})s" for name in _COLUMNS)})
    ON CONFLICT (resource) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)}
"""  # noqa: S608  constants

_INTERRUPT = """
    UPDATE reconciliation_run
    SET status = 'interrupted', finished_at = greatest(started_at, %(at)s),
        error = 'The process ended without reporting a result.'
    WHERE status = 'running'
"""

_START = """
    INSERT INTO reconciliation_run (resource, started_at, host, dagster_run_id)
    VALUES (%(resource)s, %(at)s, %(host)s, %(dagster_run_id)s)
    RETURNING id
"""

_COUNT_REQUESTS = """
    UPDATE reconciliation_run SET requests = %(requests)s WHERE id = %(id)s
"""

_FINISH = """
    UPDATE reconciliation_run
    SET status = %(status)s, finished_at = %(finished_at)s,
        is_complete = %(is_complete)s, rows_compared = %(rows_compared)s,
        changes_read = %(changes_read)s, missing = %(missing)s,
        different = %(different)s, unknown = %(unknown)s, double = %(double)s,
        other_flow = %(other_flow)s, ambiguous = %(ambiguous)s,
        repaired = %(repaired)s, adopted = %(adopted)s, requests = %(requests)s,
        throttled_seconds = %(throttled_seconds)s, note = %(note)s, error = %(error)s
    WHERE id = %(id)s
"""

_LAST = """
    SELECT id, started_at, dagster_run_id, status, finished_at, is_complete,
        rows_compared, changes_read, missing, different, unknown, double, other_flow,
        ambiguous, repaired, adopted, requests, throttled_seconds, note, error
    FROM reconciliation_run
    ORDER BY id DESC
    LIMIT %(limit)s
"""

# Each record of a bulk request counts as one request. A sync reads almost nothing else.
_REQUESTS_OF_A_DAY = """
    SELECT
        (SELECT coalesce(sum(requests), 0) FROM reconciliation_run
            WHERE started_at > %(since)s),
        (SELECT coalesce(sum(greatest(requests, delivered)), 0) FROM sync_run
            WHERE started_at > %(since)s)
"""


def read_progress(connection: Connection, resource: str) -> PassProgress:
    """Read the progress of the comparison; its start if it never ran."""
    row = connection.exec_driver_sql(_PROGRESS, {"resource": resource}).one_or_none()
    return PassProgress() if row is None else PassProgress(*row)


def save_progress(
    connection: Connection, resource: str, progress: PassProgress
) -> None:
    """Store the progress of the comparison."""
    values = {name: getattr(progress, name) for name in _COLUMNS}
    connection.exec_driver_sql(_SAVE, values | {"resource": resource})


def start_run(
    connection: Connection, resource: str, at: datetime, dagster_run_id: str | None
) -> int:
    """Open a run, and close those that a dead process left open."""
    connection.exec_driver_sql(_INTERRUPT, {"at": at})
    values = {
        "resource": resource,
        "at": at,
        "host": socket.gethostname(),
        "dagster_run_id": dagster_run_id,
    }
    number: int = connection.exec_driver_sql(_START, values).scalar_one()
    return number


def count_requests(connection: Connection, run_id: int, requests: int) -> None:
    """Store the requests of an open run, so those of a killed run count too."""
    connection.exec_driver_sql(_COUNT_REQUESTS, {"id": run_id, "requests": requests})


def finish_run(connection: Connection, run_id: int, run: ReconciliationRun) -> None:
    """Store the results of a run."""
    values = {name: getattr(run, name) for name in ReconciliationRun.__slots__}
    counts = values.pop("counts") or dict.fromkeys(FindingKind)
    connection.exec_driver_sql(
        _FINISH,
        redacted(values)
        | {kind.value: count for kind, count in counts.items()}
        | {"id": run_id},
    )


def last_runs(connection: Connection, limit: int) -> list[ReconciliationRun]:
    """Read the last runs, newest first."""
    found = connection.exec_driver_sql(_LAST, {"limit": limit}).mappings()
    return [_run(dict(row)) for row in found]


def requests_of_a_day(connection: Connection, since: datetime) -> tuple[int, int]:
    """Count requests to Dataverse since an instant: of reconciliation, and of sync."""
    row = connection.exec_driver_sql(_REQUESTS_OF_A_DAY, {"since": since}).one()
    return int(row[0]), int(row[1])


def _run(row: dict[str, object]) -> ReconciliationRun:
    counts = {kind: row.pop(kind.value) for kind in FindingKind}
    row["status"] = RunStatus(str(row["status"]))
    row["counts"] = None if None in counts.values() else counts
    return ReconciliationRun(**row)  # type: ignore[arg-type]  # columns are its fields
