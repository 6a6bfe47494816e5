"""Try to mark a few rows, and roll that back."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from apex_pipeline.postgres.pending_rows import ROW, page, read, versioned
from apex_pipeline.postgres.row_marks import Marks, mark_exported, obstacles

# Several, because the application may lock some of them.
_TRIED = 5

_EXPORTED = versioned(
    f"""
    {ROW} FROM campaign_metrics AS metric
    WHERE metric.exported_at IS NOT NULL
    ORDER BY metric.exported_at DESC
    LIMIT {_TRIED}
    """
)


@dataclass(frozen=True, slots=True)
class MarkTrial:
    """The outcome of marking a few rows and rolling that back.

    Attributes:
        obstacles: All triggers, rules and policies on the table, harmful or not.
    """

    marks: Marks
    obstacles: tuple[str, ...]


def try_marking(connection: Connection, at: datetime) -> MarkTrial:
    """Mark the oldest pending rows, or else the last exported ones, and roll back."""
    rows, is_pending = page(connection, None, _TRIED), True
    if not rows:
        rows, is_pending = read(connection, _EXPORTED, {}), False
    with connection.begin_nested() as savepoint:
        marks = mark_exported(connection, rows, at, again=not is_pending)
        savepoint.rollback()
    return MarkTrial(marks, obstacles(connection))
