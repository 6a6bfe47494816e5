"""Read the quarantine, row by row or grouped by cause."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.quarantine.decisions import (
    OF_CAUSE,
    QuarantineSelection,
    bound,
    find,
)

EXAMPLES = 3
"""Number of example ids per cause."""


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One row in quarantine; times are UTC.

    The column comments of `campaign_metrics_quarantine` describe each field.

    Attributes:
        next_attempt_at: None for a dropped row.
    """

    id: str
    code: str
    message: str
    attempts: int
    first_rejected_at: datetime
    last_rejected_at: datetime
    next_attempt_at: datetime | None
    dropped_at: datetime | None
    dropped_by: str | None
    drop_reason: str | None


@dataclass(frozen=True, slots=True)
class Cause:
    """Rows refused for the same cause; times are UTC.

    Attributes:
        code: Their error code.
        message: Their common message; numbers and ids are replaced by `…`.
        count: Number of rows.
        oldest_rejected_at: Earliest first refusal.
        next_attempt_at: Earliest retry; None for dropped rows.
        example_ids: Ids of the oldest rows.
    """

    code: str
    message: str
    count: int
    oldest_rejected_at: datetime
    next_attempt_at: datetime | None
    example_ids: tuple[str, ...]


_ROW = """
    SELECT CAST(metric_id AS text) AS id, code, message, attempts,
        first_rejected_at, last_rejected_at,
        -- Python's datetime has no infinity.
        nullif(next_attempt_at, 'infinity') AS next_attempt_at,
        dropped_at, dropped_by, drop_reason
"""

_ROWS_NAMED = f"""{_ROW}
    FROM quarantined_campaign_metrics
    WHERE metric_id = ANY(%(ids)s)
    ORDER BY metric_id
"""

_ROWS_OF_CAUSE = f"""{_ROW} {OF_CAUSE}
    ORDER BY quarantined_campaign_metrics.first_rejected_at,
        quarantined_campaign_metrics.metric_id
    LIMIT %(limit)s OFFSET %(offset)s
"""

_CAUSES = f"""
    SELECT code,
        regexp_replace(
            message,
            '[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|-?[0-9]+([.:-]?[0-9]+)*',
            '…', 'gi'
        ) AS message,
        count(*) AS count,
        min(first_rejected_at) AS oldest_rejected_at,
        nullif(min(next_attempt_at), 'infinity') AS next_attempt_at,
        (array_agg(
            CAST(metric_id AS text) ORDER BY first_rejected_at, metric_id
        ))[1:{EXAMPLES}] AS example_ids
    {OF_CAUSE}
    GROUP BY 1, 2
    ORDER BY 3 DESC, 1, 2
    LIMIT %(limit)s OFFSET %(offset)s
"""


def rows(
    connection: Connection, selection: QuarantineSelection, limit: int, offset: int = 0
) -> list[QuarantinedRow]:
    """Read rows by cause or all, in the order of their first rejection."""
    values = bound(selection) | {"limit": limit, "offset": offset}
    return _rows(connection, _ROWS_OF_CAUSE, values)


def named(connection: Connection, text: str) -> list[QuarantinedRow]:
    """Read the row with this id, or several whose ids differ only in case.

    Raises:
        ApexError: The row is not in quarantine.
    """
    ids = find(connection, QuarantineSelection(ids=(text,)))
    return _rows(connection, _ROWS_NAMED, {"ids": ids})


def causes(
    connection: Connection, selection: QuarantineSelection, limit: int, offset: int = 0
) -> list[Cause]:
    """Read the causes, most frequent first."""
    values = bound(selection) | {"limit": limit, "offset": offset}
    found = connection.exec_driver_sql(_CAUSES, values).mappings()
    return [
        Cause(**_in_utc(row) | {"example_ids": tuple(row["example_ids"])})
        for row in found
    ]


def _rows(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[QuarantinedRow]:
    found = connection.exec_driver_sql(statement, values).mappings()
    return [QuarantinedRow(**_in_utc(row)) for row in found]


def _in_utc(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert times to UTC; psycopg returns them in the connection's time zone."""
    return {
        str(name): value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
