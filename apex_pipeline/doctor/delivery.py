"""Whether rows have been arriving lately."""

from datetime import datetime, timedelta

from apex_pipeline.doctor.findings import Finding, failed, ok
from apex_pipeline.ledger import RunStatus
from apex_pipeline.store import Store

# Three ticks of the schedule, so that one failure does not make a line red.
LATE = timedelta(minutes=15)
_RUNS_LOOKED_AT = 300


def last_success(store: Store, now: datetime) -> Finding:
    """The last run that did not fail; late only while rows wait.

    A tick with nothing pending starts no run, so an old success alone says nothing.
    """
    runs = store.last_runs(_RUNS_LOOKED_AT)
    success = next((r for r in runs if r.status is RunStatus.SUCCESS), None)
    pending = store.pending_summary()
    at = success.finished_at if success else None
    seen = f"{_ago(at, now)}, {pending.count} rows pending"
    oldest = pending.oldest_created_at
    if oldest is None:
        return ok(seen)
    waiting = now - oldest
    # Old rows that came late wait since the last success, at most.
    if at is not None:
        waiting = min(waiting, now - at)
    if waiting <= LATE:
        return ok(seen)
    error = next((r.error for r in runs if r.status is not RunStatus.RUNNING), None)
    return failed(
        f"{seen}, the oldest for {waiting.total_seconds() / 60:,.0f} min",
        f"The last run says: {error}" if error else "",
    )


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    return f"{(now - at).total_seconds() / 60:,.0f} min ago"
