"""Rules: rows are delivered in time, according to the metrics database."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.monitoring.alerts.notice import Observation, Severity
from apex_pipeline.monitoring.facts import (
    AuditFacts,
    Facts,
    read_audit_facts,
    read_facts,
)
from apex_pipeline.monitoring.rules.catalogue import (
    AUDIT_BROKEN,
    COMPARISON_SLOW,
    NO_SUCCESS,
    ROWS_OVERDUE,
    ROWS_QUARANTINED,
    RUN_FAILED,
    STORAGE_FULL,
    SYNC_JOB,
    THROTTLED,
    USER_LEFT_OUT,
)
from apex_pipeline.monitoring.rules.run_outcomes import without_rows
from apex_pipeline.postgres.comparison_progress import PROMISED, RollupLap, progress_in
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.lock_holders import row_lock_holders
from apex_pipeline.postgres.run_ledger import RunRecord
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.texts.durations import words

THROTTLE_WINDOW = timedelta(minutes=30)
THROTTLED_SHARE = 0.1
FULL_SHARE = 0.9

_CODES_SHOWN = 3

# On Neon the storage limit of the project, -1 for none; elsewhere null.
_SIZE = """
    SELECT pg_database_size(current_database()),
        pg_size_bytes(current_setting('neon.max_cluster_size', true))
"""


@dataclass(frozen=True, slots=True)
class SyncHealth:
    """A snapshot of the metrics database.

    Attributes:
        bytes_limit: What the database may grow to; None where nothing says so.
        holders: Sessions that may hold rows which the last run found locked, as far as
            our role may see them.
        compared: How far the comparison of rollups has come; None before the first.
        audit: The state of the audit trail.
    """

    facts: Facts
    bytes_used: int
    bytes_limit: int | None
    compared: RollupLap | None = None
    holders: str = ""
    audit: AuditFacts = field(default_factory=AuditFacts)


def read_health(
    database: Database, now: datetime, dataverse: DataverseSettings | None = None
) -> SyncHealth:
    """Read the snapshot in one transaction.

    Args:
        database: The metrics database.
        now: Current time, timezone-aware.
        dataverse: Whose application users to look at; None for none.

    Raises:
        DatabaseError: It did not answer, or lacks our tables.
    """

    def read(connection: Connection) -> SyncHealth:
        used, limit = connection.exec_driver_sql(_SIZE).one()
        facts = read_facts(connection, now, dataverse)
        is_held = facts.last_ended is not None and facts.last_ended.locked > 0
        return SyncHealth(
            facts=facts,
            bytes_used=used,
            bytes_limit=limit if limit and limit > 0 else None,
            compared=progress_in(connection),
            holders=row_lock_holders(connection, "campaign_metrics") if is_held else "",
            audit=read_audit_facts(connection),
        )

    return database.transact(read, repeatable=True)


def observe(
    health: SyncHealth, empty_at: datetime | None, now: datetime
) -> Iterator[Observation]:
    """Observe problems, causes before consequences.

    Args:
        health: The snapshot.
        empty_at: When no rows were pending last, as far as the watch knows; None if the
            caller knows nothing of it.
        now: Current time, timezone-aware.
    """
    if not health.facts.pending.count:
        # All rows of a failed run have since been delivered, dropped or deleted.
        yield Observation(f"{RUN_FAILED.name}/{SYNC_JOB}")
    yield _full(health)
    yield _throttled(health, now)
    yield _quarantined(health)
    yield _overdue(health, empty_at)
    yield _no_success(health, empty_at)
    yield _compared(health, now)
    yield _audited(health.audit)
    yield _left_out(health)


def last_empty(health: SyncHealth, known: datetime, now: datetime) -> datetime:
    """When no rows were pending last.

    Rows that arrive late with an old `created_at` have been pending only since then.

    Args:
        health: The snapshot.
        known: The value known before.
        now: Current time, timezone-aware.
    """
    if not health.facts.pending.count:
        return now
    return max(known, health.facts.emptied_at or known)


def _overdue(health: SyncHealth, empty_at: datetime | None) -> Observation:
    facts = health.facts
    since = facts.waiting_since(empty_at)
    if since is None or not facts.is_overdue(empty_at):
        return Observation(ROWS_OVERDUE.name)
    found = ROWS_OVERDUE.finding(
        _last_error(facts)
        or _busy_rows(health)
        or "The last run of the sync reported no error.",
        facts=(
            ("Rows pending", f"{facts.pending.count:,}"),
            ("Oldest pending for", words(facts.as_of - since)),
        ),
    )
    return Observation(ROWS_OVERDUE.name, (found,))


def _no_success(health: SyncHealth, empty_at: datetime | None) -> Observation:
    facts = health.facts
    if not facts.lacks_success(empty_at):
        return Observation(NO_SUCCESS.name)
    succeeded = facts.last_success_at
    last = f"{succeeded:%Y-%m-%d %H:%M:%S} UTC" if succeeded else "never"
    found = NO_SUCCESS.finding(
        _last_error(facts) or "No run of the sync has finished recently.",
        facts=(
            ("Rows pending", f"{facts.pending.count:,}"),
            ("Last success", last),
        ),
    )
    return Observation(NO_SUCCESS.name, (found,))


def _throttled(health: SyncHealth, now: datetime) -> Observation:
    seconds = sum(_stood_still(run, now) for run in health.facts.runs)
    share = seconds / THROTTLE_WINDOW.total_seconds()
    if share <= THROTTLED_SHARE:
        return Observation(THROTTLED.name)
    found = THROTTLED.finding(
        f"The sync spent {min(share, 1.0):.0%} of the last half hour waiting.",
        cause_key="throttled",
        facts=(("Rows pending", f"{health.facts.pending.count:,}"),),
    )
    return Observation(THROTTLED.name, (found,))


def _stood_still(run: RunRecord, now: datetime) -> float:
    """Seconds of the window that a run waited, plus the wait imposed on the next run."""
    ended = run.finished_at
    if ended is None or ended < now - THROTTLE_WINDOW:
        return 0.0
    after = (min(run.retry_at, now) - ended).total_seconds() if run.retry_at else 0.0
    return run.throttled_seconds + max(after, 0.0)


def _quarantined(health: SyncHealth) -> Observation:
    count = health.facts.quarantined_count
    if not count:
        return Observation(ROWS_QUARANTINED.name)
    shown = list(health.facts.quarantined.items())[:_CODES_SHOWN]
    others = count - sum(number for _, number in shown)
    codes = [f"{code}: {number:,}" for code, number in shown]
    codes += [f"others: {others:,}"] if others else []
    found = ROWS_QUARANTINED.finding(
        f"Dataverse refused them. Rows by error code: {', '.join(codes)}.",
        cause_key=" ".join(sorted(health.facts.quarantined)),
        facts=(("Rows", f"{count:,}"),),
    )
    return Observation(ROWS_QUARANTINED.name, (found,))


def _compared(health: SyncHealth, now: datetime) -> Observation:
    seconds = health.compared.seconds(now) if health.compared else None
    if health.compared is None or (seconds or 0.0) <= PROMISED.total_seconds():
        return Observation(COMPARISON_SLOW.name)
    following = health.compared.next_day
    found = COMPARISON_SLOW.finding(
        "Comparing all raw rows with their daily and weekly rollups takes "
        f"{words(timedelta(seconds=seconds or 0.0))}.",
        cause_key="slow",
        facts=(("Compared until", str(following or "the end")),),
    )
    return Observation(COMPARISON_SLOW.name, (found,))


def _audited(audit: AuditFacts) -> Observation:
    found = audit.verified
    if found is None or found.is_unbroken:
        return Observation(AUDIT_BROKEN.name)
    others = len(found.problems) - 1
    more = f" And {others} more." if others else ""
    finding = AUDIT_BROKEN.finding(
        f"{found.problems[0]}{more}",
        cause_key=found.problems[0],
        facts=(("Events", f"{found.events:,}"),),
    )
    return Observation(AUDIT_BROKEN.name, (finding,))


def _left_out(health: SyncHealth) -> Observation:
    found = [
        USER_LEFT_OUT.finding(
            without_rows(reason), where=key.rpartition(" ")[2], cause_key="refused"
        )
        for key, reason in health.facts.left_out.items()
    ]
    return Observation(USER_LEFT_OUT.name, tuple(found))


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
        remedy="Choose a larger plan in the Neon console, or delete old data.",
    )
    return Observation(scope, (found,))


def _last_error(facts: Facts) -> str:
    return (
        f"The last run failed: {without_rows(facts.last_error)}"
        if facts.last_error
        else ""
    )


def _busy_rows(health: SyncHealth) -> str:
    """Why the last run left rows pending that it had sent, if it did."""
    last = health.facts.last_ended
    if last is None or not last.changed + last.locked:
        return ""
    counts = {"locked": last.locked, "changed": last.changed}
    parts = [f"{what} {count:,} times" for what, count in counts.items() if count]
    held = f" Sessions that hold rows: {health.holders}." if health.holders else ""
    return (
        "While the last run sent rows, another transaction had them "
        f"{' and '.join(parts)}; such rows stay pending.{held} Find out what keeps "
        "locking or updating them (pg_stat_activity)."
    )


def utc(text: str) -> datetime:
    """Parse a stored ISO 8601 instant as UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
