"""Whether rows have been arriving lately."""

from datetime import datetime

from apex_pipeline.monitoring.doctor.check_results import Finding, failed, ok
from apex_pipeline.monitoring.facts import read_facts
from apex_pipeline.postgres.database import Database


def last_success(database: Database, now: datetime) -> Finding:
    """The last run that did not fail; late only while rows wait.

    A tick with nothing pending starts no run, so an old success alone says nothing.
    """
    facts = database.ask(read_facts, now)
    seen = f"{_ago(facts.last_success_at, now)}, {facts.pending.count} rows pending"
    since = facts.waiting_since()
    if since is None or not facts.lacks_success():
        return ok(seen)
    return failed(
        f"{seen}, waiting for {(now - since).total_seconds() / 60:,.0f} min",
        f"The last run says: {facts.last_error}" if facts.last_error else "",
    )


def _ago(at: datetime | None, now: datetime) -> str:
    if at is None:
        return "never"
    return f"{(now - at).total_seconds() / 60:,.0f} min ago"
