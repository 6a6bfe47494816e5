"""Check that a delivered row can be marked, by trying it."""

from datetime import datetime

from apex_pipeline.monitoring.doctor.check_results import (
    CheckState,
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.mark_trial import try_marking

REMEDY = (
    "Allow the pipeline's role to set exported_at: change the trigger or rule, or give "
    "the role a policy for UPDATE. Until then the sync stops at its first page."
)


def marks_take(database: Database, now: datetime) -> Measurement:
    """Try it on rows as they are, in a transaction that is rolled back."""
    found = database.ask(try_marking, now)
    besides = "; ".join(found.obstacles)
    marks = found.marks
    if marks.swallowed:
        return failed(f"Postgres accepted the mark but did not keep it: {besides}")
    if marks.marked:
        return ok(
            "tested and rolled back" + (f"; there is {besides}" if besides else "")
        )
    if marks.locked:
        return Measurement(
            CheckState.NOT_CHECKED, "other transactions lock the rows to test with"
        )
    if besides:
        return warning(
            f"no row to test with, and there is {besides}",
            "Check that it allows the pipeline's role to set exported_at.",
        )
    return ok("no row to test with; no trigger, rule or policy interferes")
