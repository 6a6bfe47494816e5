"""Check that rows have been delivered recently."""

from datetime import datetime

from apex_pipeline.monitoring.doctor.check_results import Measurement, failed, ok
from apex_pipeline.monitoring.facts import read_facts
from apex_pipeline.postgres.database import Database
from apex_pipeline.texts.counted import counted


def last_success(database: Database, now: datetime) -> Measurement:
    """Check when a run last succeeded; that is late only while rows wait.

    A tick without pending rows starts no run, so an old success alone is fine.
    """
    facts = database.ask(read_facts, now)
    seen = f"{_ago(facts.last_success_at, now)}, {counted(facts.pending.count, 'row')} pending"
    since = facts.waiting_since()
    if since is None or not facts.lacks_success():
        return ok(seen)
    return failed(
        f"{seen} for {(now - since).total_seconds() / 60:,.0f} min",
        f"The last run failed: {facts.last_error}" if facts.last_error else "",
    )


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    return f"{(now - at).total_seconds() / 60:,.0f} min ago"
