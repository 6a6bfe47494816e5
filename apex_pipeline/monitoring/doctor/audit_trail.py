"""Check that the audit trail was verified and anchored lately."""

from datetime import datetime, timedelta

from apex_pipeline.monitoring.doctor.check_results import (
    CheckState,
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.monitoring.facts import read_audit_facts
from apex_pipeline.postgres.database import Database
from apex_pipeline.texts.durations import words

_OVERDUE_AFTER = timedelta(days=2)
"""Twice the interval of the job."""

REMEDY = (
    "Run `apex audit verify`. Check in the Dagster UI that anchor_audit_trail_daily is on, "
    "and why its last run failed."
)


def last_result(database: Database, now: datetime) -> Measurement:
    """The last verification, and the age of the last anchor."""
    facts = database.ask(read_audit_facts)
    found = facts.verified
    if found is not None and not found.is_unbroken:
        return failed(f"broken: {found.problems[0]}")
    if found is None or found.verified_at is None or facts.anchored_at is None:
        # The job comes once a day; a fresh installation waits for it.
        return Measurement(
            CheckState.NOT_CHECKED,
            "not verified and anchored yet; anchor_audit_trail_daily does both every day",
        )
    oldest = min(found.verified_at, facts.anchored_at)
    seen = (
        f"{found.events:,} events verified {words(now - found.verified_at)} ago, "
        f"anchored {words(now - facts.anchored_at)} ago"
    )
    return ok(seen) if now - oldest <= _OVERDUE_AFTER else warning(seen)
