"""Whether rows get through: what the metrics database tells, and what follows from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline import ledger, pending
from apex_pipeline.alerts.findings import Observation
from apex_pipeline.alerts.notice import Severity
from apex_pipeline.analysis.comparison import PROMISED, Progress, progress_in
from apex_pipeline.database import Database
from apex_pipeline.durations import words
from apex_pipeline.ledger import RunRecord, RunStatus
from apex_pipeline.pending import PendingSummary
from apex_pipeline.watch.catalogue import (
    COMPARISON_SLOW,
    NO_SUCCESS,
    ROWS_OVERDUE,
    ROWS_QUARANTINED,
    RUN_FAILED,
    STORAGE_FULL,
    SYNC_JOB,
    THROTTLED,
)
from apex_pipeline.watch.run_events import without_rows

OVERDUE = timedelta(minutes=10)
LATE = timedelta(minutes=15)
THROTTLE_WINDOW = timedelta(minutes=30)
THROTTLED_SHARE = 0.1
FULL_SHARE = 0.9

_RUNS_LOOKED_AT = 300
_CODES_SHOWN = 3

# Those that a person has dropped are dealt with.
_QUARANTINED = """
    SELECT code, count(*) FROM campaign_metrics_quarantine
    WHERE next_attempt_at < 'infinity'
    GROUP BY code
    ORDER BY 2 DESC, 1
"""

# Neon's own limit on all that a project stores, -1 for none; elsewhere null.
_SIZE = """
    SELECT pg_database_size(current_database()),
        pg_size_bytes(current_setting('neon.max_cluster_size', true))
"""


@dataclass(frozen=True, slots=True)
class SyncHealth:
    """What the metrics database tells at one instant.

    Attributes:
        runs: The last runs, the newest first.
        quarantined: Rows put aside and not dropped, by code.
        bytes_limit: What the database may grow to; None where nothing says so.
        compared: How far the comparison of rollups has come; None before the first.
    """

    pending: PendingSummary
    runs: Sequence[RunRecord]
    quarantined: Mapping[str, int]
    bytes_used: int
    bytes_limit: int | None
    compared: Progress | None = None


def read_health(database: Database) -> SyncHealth:
    """Ask Postgres, in one transaction.

    Raises:
        DatabaseError: It did not answer, or lacks our tables.
    """

    def read(connection: Connection) -> SyncHealth:
        used, limit = connection.exec_driver_sql(_SIZE).one()
        codes = connection.exec_driver_sql(_QUARANTINED)
        return SyncHealth(
            pending=pending.summary(connection),
            runs=ledger.last_runs(connection, _RUNS_LOOKED_AT),
            quarantined={code: count for code, count in codes},  # noqa: C416  rows
            bytes_used=used,
            bytes_limit=limit if limit and limit > 0 else None,
            compared=progress_in(connection),
        )

    return database.transact(read, repeatable=True)


def observe(
    health: SyncHealth, empty_at: datetime, now: datetime
) -> Iterator[Observation]:
    """What is wrong, causes first.

    Args:
        health: What was read.
        empty_at: When nothing was pending last, as far as the watch knows.
        now: The present (aware).
    """
    if not health.pending.count:
        # What failed has been made good, by whomever, or a person took it away.
        yield Observation(f"{RUN_FAILED.name}/{SYNC_JOB}")
    yield _full(health)
    yield _throttled(health, now)
    yield _quarantined(health)
    yield _overdue(health, empty_at, now)
    yield _no_success(health, empty_at, now)
    yield _compared(health, now)


def last_empty(health: SyncHealth, known: datetime, now: datetime) -> datetime:
    """When nothing was pending last.

    So that rows which came late, with an old time, do not count as having waited since.

    Args:
        health: What was read.
        known: What was known before.
        now: The present (aware).
    """
    if not health.pending.count:
        return now
    emptied = [
        run.finished_at
        for run in health.runs
        if run.status is RunStatus.SUCCESS and run.remaining == 0 and run.finished_at
    ]
    return max([known, *emptied])


def _waiting_since(health: SyncHealth, empty_at: datetime) -> datetime | None:
    if not health.pending.count:
        return None
    # An undated row of an adopted table has waited since it can have come.
    return max(health.pending.oldest_created_at or empty_at, empty_at)


def _overdue(health: SyncHealth, empty_at: datetime, now: datetime) -> Observation:
    since = _waiting_since(health, empty_at)
    if since is None or now - since <= OVERDUE:
        return Observation(ROWS_OVERDUE.name)
    found = ROWS_OVERDUE.finding(
        _last_error(health) or "The last run of the sync says nothing of a fault.",
        facts=(
            ("Rows pending", f"{health.pending.count:,}"),
            ("The oldest waits for", words(now - since)),
        ),
    )
    return Observation(ROWS_OVERDUE.name, (found,))


def _no_success(health: SyncHealth, empty_at: datetime, now: datetime) -> Observation:
    since = _waiting_since(health, empty_at)
    succeeded = next(
        (r.finished_at for r in health.runs if r.status is RunStatus.SUCCESS), None
    )
    if since is None or now - max(since, succeeded or since) <= LATE:
        return Observation(NO_SUCCESS.name)
    last = f"{succeeded:%Y-%m-%d %H:%M:%S} UTC" if succeeded else "never"
    found = NO_SUCCESS.finding(
        _last_error(health) or "No run of the sync has ended lately.",
        facts=(
            ("Rows pending", f"{health.pending.count:,}"),
            ("Last success", last),
        ),
    )
    return Observation(NO_SUCCESS.name, (found,))


def _throttled(health: SyncHealth, now: datetime) -> Observation:
    seconds = sum(_stood_still(run, now) for run in health.runs)
    share = seconds / THROTTLE_WINDOW.total_seconds()
    if share <= THROTTLED_SHARE:
        return Observation(THROTTLED.name)
    found = THROTTLED.finding(
        f"It had the sync wait for {min(share, 1.0):.0%} of the last half hour.",
        cause_key="throttled",
        facts=(("Rows pending", f"{health.pending.count:,}"),),
    )
    return Observation(THROTTLED.name, (found,))


def _stood_still(run: RunRecord, now: datetime) -> float:
    """Seconds of the window that a run waited, and that it had others wait after it."""
    ended = run.finished_at
    if ended is None or ended < now - THROTTLE_WINDOW:
        return 0.0
    after = (min(run.retry_at, now) - ended).total_seconds() if run.retry_at else 0.0
    return run.throttled_seconds + max(after, 0.0)


def _quarantined(health: SyncHealth) -> Observation:
    count = sum(health.quarantined.values())
    if not count:
        return Observation(ROWS_QUARANTINED.name)
    shown = list(health.quarantined.items())[:_CODES_SHOWN]
    others = count - sum(number for _, number in shown)
    codes = [f"{code}: {number:,}" for code, number in shown]
    codes += [f"others: {others:,}"] if others else []
    found = ROWS_QUARANTINED.finding(
        f"Dataverse cannot take them as they are. Rows by error code: "
        f"{', '.join(codes)}.",
        cause_key=" ".join(sorted(health.quarantined)),
        facts=(("Rows", f"{count:,}"),),
    )
    return Observation(ROWS_QUARANTINED.name, (found,))


def _compared(health: SyncHealth, now: datetime) -> Observation:
    seconds = health.compared.seconds(now) if health.compared else None
    if health.compared is None or (seconds or 0.0) <= PROMISED.total_seconds():
        return Observation(COMPARISON_SLOW.name)
    following = health.compared.next_day
    found = COMPARISON_SLOW.finding(
        "Comparing all raw rows with the days and weeks that were made of them takes "
        f"{words(timedelta(seconds=seconds or 0.0))}.",
        cause_key="slow",
        facts=(("Compared until", str(following or "the end")),),
    )
    return Observation(COMPARISON_SLOW.name, (found,))


def _full(health: SyncHealth) -> Observation:
    scope = f"{STORAGE_FULL.name}/database"
    limit = health.bytes_limit
    if limit is None or health.bytes_used < FULL_SHARE * limit:
        return Observation(scope)
    found = STORAGE_FULL.finding(
        f"{health.bytes_used / 1024**2:,.0f} MiB of {limit / 1024**2:,.0f} MiB are used.",
        where="the metrics database",
        key="database",
        cause_key="full",
        severity=Severity.ERROR,
        remedy="Choose a larger plan in the Neon console, or delete what is old.",
    )
    return Observation(scope, (found,))


def _last_error(health: SyncHealth) -> str:
    ended = (r for r in health.runs if r.status is not RunStatus.RUNNING)
    last = next(ended, None)
    if last is None or not last.error:
        return ""
    return f"The last run says: {without_rows(last.error)}"


def utc(text: str) -> datetime:
    """An instant that was kept as text."""
    return datetime.fromisoformat(text).astimezone(UTC)
