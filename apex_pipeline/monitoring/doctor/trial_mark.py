"""Whether a delivered row can be marked, which only a mark can tell."""

from datetime import datetime

from apex_pipeline.monitoring.doctor.check_results import (
    Finding,
    State,
    failed,
    ok,
    warning,
)
from apex_pipeline.postgres import row_marks
from apex_pipeline.postgres.database import Database

REMEDY = (
    "Let the pipeline's role set exported_at: change the trigger or rule, or give the "
    "role a policy for UPDATE. Until then the sync stops at its first page."
)


def marks_take(database: Database, now: datetime) -> Finding:
    """Try it on rows as they are, in a transaction that is rolled back."""
    found = database.ask(row_marks.trial, now)
    besides = "; ".join(found.obstacles)
    marks = found.marks
    if marks.swallowed:
        return failed(f"Postgres took the mark and kept nothing of it: {besides}")
    if marks.marked:
        return ok(
            "tried and rolled back" + (f"; there is {besides}" if besides else "")
        )
    if marks.locked:
        return Finding(
            State.NOT_CHECKED, "other transactions hold the rows to try it on"
        )
    if besides:
        return warning(
            f"no row to try it on, and there is {besides}",
            "Look whether that lets the pipeline's role set exported_at.",
        )
    return ok("no row to try it on; no trigger, rule or policy is in the way")
