"""The pending rows in their order, and what happens to each: exported or put aside.

Ids travel as text and are compared as whatever type the id column has, since an adopted
table may hold text in place of uuid. That is why the statements bypass SQLAlchemy's
compiler, which would give each bound string a type.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.metrics import Rejection


class Position(NamedTuple):
    """Where a row stands in the order of the pending rows.

    Attributes:
        created_at: The instant as Postgres prints it, to the microsecond; None comes
            last.
        id: The row's key.
    """

    created_at: str | None
    id: str


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row to be delivered.

    Attributes:
        values: Column name to value; `created_at` as seconds since the epoch, since
            Postgres knows instants that Python does not.
    """

    id: str
    position: Position
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PendingSummary:
    """How much is to be delivered.

    Attributes:
        oldest_created_at: Of the oldest row (aware, UTC), brought within the years
            that Python knows; None if nothing is pending.
    """

    count: int
    oldest_created_at: datetime | None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)

_COLUMNS = """
    SELECT CAST(id AS text) AS id,
        CAST(created_at AS text) AS position,
        extract(epoch FROM created_at) AS created_at,
        campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
        success_rate_pct,
        (
            SELECT CAST(record_id AS text) FROM adopted_record
            WHERE metric_id = campaign_metrics_pending.id
        ) AS record_id,
        -- Text tells cases apart where a UUID does not: two such rows are one record.
        CASE WHEN CAST(id AS text) = lower(CAST(id AS text)) THEN false
        ELSE EXISTS (
            SELECT FROM campaign_metrics AS twin
            WHERE CAST(twin.id AS text)
                = lower(CAST(campaign_metrics_pending.id AS text))
        ) END AS has_twin
    FROM campaign_metrics_pending
"""

_ORDER = """
    ORDER BY campaign_metrics_pending.created_at, campaign_metrics_pending.id
    LIMIT %(limit)s
"""

FIRST_PAGE = _COLUMNS + _ORDER
"""The oldest pending rows; binds `limit`."""

_NEXT_PAGE = f"""{_COLUMNS}
    WHERE (campaign_metrics_pending.created_at, campaign_metrics_pending.id)
        > (%(created_at)s, %(id)s)
    {_ORDER}"""

# A comparison with null is never true; an adopted table's created_at may be null.
_UNDATED_PAGE = f"""{_COLUMNS}
    WHERE campaign_metrics_pending.created_at IS NULL
    {_ORDER}"""

_NEXT_UNDATED_PAGE = f"""{_COLUMNS}
    WHERE campaign_metrics_pending.created_at IS NULL
        AND campaign_metrics_pending.id > %(id)s
    {_ORDER}"""

_SUMMARY = """
    SELECT count(*), extract(epoch FROM min(created_at)) FROM campaign_metrics_pending
"""

# The order leads the planner to the partial index, whatever share of the table it takes
# to be pending.
_ANY = """
    SELECT id FROM campaign_metrics_pending ORDER BY created_at, id LIMIT 1
"""

_MARK_EXPORTED = """
    UPDATE campaign_metrics
    SET exported_at = %(at)s
    WHERE id = ANY(%(ids)s) AND exported_at IS NULL
"""

_LEAVE_QUARANTINE = """
    DELETE FROM campaign_metrics_quarantine WHERE metric_id = ANY(%(ids)s)
"""

# The view compares with the server's clock. A host whose clock runs ahead must not put a
# row aside for as long as that, nor one that was set back end in a violated constraint.
_QUARANTINE = """
    INSERT INTO campaign_metrics_quarantine AS known (
        metric_id, code, message, attempts,
        first_rejected_at, last_rejected_at, next_attempt_at
    )
    VALUES (
        %(id)s, %(code)s, %(message)s, 1,
        least(%(at)s, now()), least(%(at)s, now()),
        least(%(at)s, now()) + interval '5 minutes'
    )
    ON CONFLICT (metric_id) DO UPDATE
    SET code = excluded.code,
        message = excluded.message,
        attempts = known.attempts + 1,
        last_rejected_at = greatest(known.first_rejected_at, excluded.last_rejected_at),
        next_attempt_at = excluded.last_rejected_at + least(
            interval '5 minutes' * power(2, least(known.attempts, 30)),
            interval '1 day'
        )
"""

_QUARANTINE_COUNT = "SELECT count(*) FROM campaign_metrics_quarantine"

_KNOWN_IDS = """
    SELECT CAST(id AS text) FROM campaign_metrics WHERE id = ANY(%(ids)s)
    UNION ALL
    SELECT CAST(record_id AS text) FROM adopted_record
    WHERE record_id = ANY(CAST(%(ids)s AS uuid[]))
"""


def page(
    connection: Connection, after: Position | None, limit: int
) -> list[PendingRow]:
    """Read the pending rows that follow *after*, the oldest first."""
    if after is None:
        return _rows(connection, FIRST_PAGE, {"limit": limit})
    if after.created_at is None:
        return _rows(connection, _NEXT_UNDATED_PAGE, {"id": after.id, "limit": limit})
    found = _rows(connection, _NEXT_PAGE, after._asdict() | {"limit": limit})
    if len(found) < limit:
        found += _rows(connection, _UNDATED_PAGE, {"limit": limit - len(found)})
    return found


def summary(connection: Connection) -> PendingSummary:
    """Count the pending rows, and find the oldest."""
    count, oldest = connection.exec_driver_sql(_SUMMARY).one()
    return PendingSummary(count, None if oldest is None else _instant(oldest))


def exists(connection: Connection) -> bool:
    """Whether anything is pending."""
    return connection.exec_driver_sql(_ANY).first() is not None


def mark_exported(connection: Connection, ids: Sequence[str], at: datetime) -> int:
    """Mark rows, let them leave the quarantine, and count those that were pending."""
    # Written out in UTC, so that a column without time zone takes the right hour.
    values = {"ids": list(ids), "at": at.astimezone(UTC).isoformat()}
    marked = connection.exec_driver_sql(_MARK_EXPORTED, values).rowcount
    connection.exec_driver_sql(_LEAVE_QUARANTINE, values)
    return marked


def quarantine(
    connection: Connection, rejections: Sequence[Rejection], at: datetime
) -> None:
    """Put rows aside, each time twice as long."""
    rows = [
        # Text in Postgres holds no NUL.
        {"id": r.id, "code": r.code, "message": r.message.replace("\0", ""), "at": at}
        for r in rejections
    ]
    if rows:
        connection.exec_driver_sql(_QUARANTINE, rows)


def quarantine_count(connection: Connection) -> int:
    """Count the rows in quarantine, due or not."""
    count: int = connection.exec_driver_sql(_QUARANTINE_COUNT).scalar_one()
    return count


def known_ids(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Tell which of these UUIDs are rows of ours, or records adopted for one."""
    values = {"ids": spellings(UUID(text) for text in ids)}
    found = connection.exec_driver_sql(_KNOWN_IDS, values).scalars()
    return {text.lower() for text in found}


def spellings(keys: Iterable[UUID]) -> list[str]:
    """The ways in which a column of text may hold UUIDs."""
    texts = {str(key) for key in keys}
    return [*texts, *(text.upper() for text in texts)]


def _rows(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[PendingRow]:
    rows = connection.exec_driver_sql(statement, values).mappings()
    return [
        PendingRow(row["id"], Position(row["position"], row["id"]), dict(row))
        for row in rows
    ]


def _instant(epoch: Decimal) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=float(epoch))
    except OverflowError:
        return _LAST_INSTANT if epoch > 0 else _FIRST_INSTANT
