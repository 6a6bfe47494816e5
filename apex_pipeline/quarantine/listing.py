"""What is in quarantine, row by row and cause by cause, for a person to look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.quarantine.decisions import OF_CAUSE, Selection, bound, find

EXAMPLES = 3
"""How many ids stand for the rows of a cause."""


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One row in quarantine; times are UTC.

    The comments on the columns of `campaign_metrics_quarantine` say what each is.

    Attributes:
        next_attempt_at: None for a row that was dropped.
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
    """Rows that were refused for one and the same cause; times are UTC.

    Attributes:
        message: What their messages have in common; numbers and ids show as `…`.
        oldest_rejected_at: When the first of them was refused for the first time.
        next_attempt_at: When the first of them is tried again; None for dropped ones.
        example_ids: Some of them, the oldest.
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
        -- Python knows no infinity.
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
    connection: Connection, selection: Selection, limit: int, offset: int
) -> list[QuarantinedRow]:
    """Read the rows of a cause, or all, by when they were refused first."""
    values = bound(selection) | {"limit": limit, "offset": offset}
    return _rows(connection, _ROWS_OF_CAUSE, values)


def named(connection: Connection, text: str) -> list[QuarantinedRow]:
    """Read the row with this id; several where their ids differ in case alone.

    Raises:
        ApexError: It is not in quarantine.
    """
    ids = find(connection, Selection(ids=(text,)))
    return _rows(connection, _ROWS_NAMED, {"ids": ids})


def causes(
    connection: Connection, selection: Selection, limit: int, offset: int
) -> list[Cause]:
    """Read the causes, the commonest first."""
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
    """Times as they are written elsewhere; a connection has a zone of its own."""
    return {
        str(name): value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in row.items()
    }
