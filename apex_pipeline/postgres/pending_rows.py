"""The rows of `campaign_metrics`: how they are read, and in which order.

Ids travel as text and are compared as whatever type the id column has, since an adopted
table may hold text in place of uuid. That is why the statements bypass SQLAlchemy's
compiler, which would give each bound string a type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection


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
        version: What changes with the row; see `versioned`.
    """

    id: str
    position: Position
    values: Mapping[str, object]
    version: str


@dataclass(frozen=True, slots=True)
class PendingSummary:
    """How much is to be delivered.

    Attributes:
        oldest_created_at: Of the oldest row that was not refused before (aware, UTC),
            brought within the years that Python knows; None if there is none.
    """

    count: int
    oldest_created_at: datetime | None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)

# Of a view, and of a foreign table, whose xmin says nothing, the values are the version.
_VERSION = """
    CASE WHEN (
        SELECT relkind FROM pg_class WHERE oid = CAST('campaign_metrics' AS regclass)
    ) = 'r' THEN CAST(xmin AS text)
    ELSE md5(CAST(ROW(
        metric.campaign_id, metric.run_id, metric.phase, metric.agents_total,
        metric.agents_successful, metric.assets_generated, metric.tokens_in,
        metric.tokens_out, metric.cost_usd, metric.latency_p95_ms,
        metric.latency_avg_ms, metric.success_rate_pct,
        extract(epoch FROM metric.created_at)
    ) AS text)) END
"""


def versioned(statement: str) -> str:
    """A statement in which `{version}` is that of the row `metric`.

    `xmin` is a column of every table and of no view. Where `campaign_metrics` is a
    view, the name finds the column of the outer query in its place.
    """
    return f"""
        SELECT found.*
        FROM (VALUES (CAST(NULL AS xid))) AS absent (xmin)
        CROSS JOIN LATERAL ({statement.replace("{version}", _VERSION)}) AS found
    """  # noqa: S608  constants


ROW = """
    SELECT CAST(id AS text) AS id,
        {version} AS version,
        CAST(created_at AS text) AS position,
        extract(epoch FROM created_at) AS created_at,
        campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
        success_rate_pct,
        (
            SELECT CAST(record_id AS text) FROM adopted_record
            WHERE metric_id = metric.id
        ) AS record_id,
        -- Text tells cases apart where a UUID does not: two such rows are one record. It
        -- is that of the row that was delivered, else of the one in small letters.
        CASE WHEN pg_typeof(metric.id) = CAST('uuid' AS regtype) THEN false
        ELSE EXISTS (
            SELECT FROM campaign_metrics AS twin
            WHERE CAST(twin.id AS text) IN (
                lower(CAST(metric.id AS text)), upper(CAST(metric.id AS text))
            )
                AND twin.id <> metric.id
                AND CASE WHEN (twin.exported_at IS NULL) = (metric.exported_at IS NULL)
                THEN CAST(metric.id AS text) <> lower(CAST(metric.id AS text))
                ELSE twin.exported_at IS NOT NULL END
        ) END AS has_twin
"""
"""What is read of a row; it is called `metric` in the `FROM` that follows. The whole is
completed by `versioned`."""

DUE = """
    metric.exported_at IS NULL AND NOT EXISTS (
        SELECT FROM campaign_metrics_quarantine
        WHERE metric_id = metric.id AND next_attempt_at > now()
    )
"""
"""The rows of `campaign_metrics_pending`; the view itself hides their versions."""

IN_ORDER = """
    ORDER BY metric.created_at, metric.id
    LIMIT %(limit)s
"""
"""The oldest rows; binds `limit`. The order is total."""

AFTER = "(metric.created_at, metric.id) > (%(created_at)s, %(id)s)"
"""Rows that follow a position; binds its two parts."""

_PENDING = f"{ROW} FROM campaign_metrics AS metric WHERE {DUE}"

FIRST_PAGE = versioned(f"{_PENDING} {IN_ORDER}")
"""The oldest pending rows; binds `limit`."""

_NEXT_PAGE = versioned(f"{_PENDING} AND {AFTER} {IN_ORDER}")

# A comparison with null is never true; an adopted table's created_at may be null.
_UNDATED_PAGE = versioned(f"{_PENDING} AND metric.created_at IS NULL {IN_ORDER}")

_NEXT_UNDATED_PAGE = versioned(f"""{_PENDING}
    AND metric.created_at IS NULL AND metric.id > %(id)s
    {IN_ORDER}""")

_NAMED = versioned(f"{ROW} FROM campaign_metrics AS metric WHERE metric.id = %(id)s")

# A row that was refused is pending again whenever it is due: its age says nothing of how
# well the sync keeps up.
_SUMMARY = """
    SELECT count(*), extract(epoch FROM min(created_at) FILTER (WHERE NOT EXISTS (
        SELECT FROM campaign_metrics_quarantine WHERE metric_id = pending.id
    )))
    FROM campaign_metrics_pending AS pending
"""

# The order leads the planner to the partial index, whatever share of the table it takes
# to be pending.
_ANY = """
    SELECT id FROM campaign_metrics_pending ORDER BY created_at, id LIMIT 1
"""

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
        return read(connection, FIRST_PAGE, {"limit": limit})
    if after.created_at is None:
        return read(connection, _NEXT_UNDATED_PAGE, {"id": after.id, "limit": limit})
    found = read(connection, _NEXT_PAGE, after._asdict() | {"limit": limit})
    if len(found) < limit:
        found += read(connection, _UNDATED_PAGE, {"limit": limit - len(found)})
    return found


def summary(connection: Connection) -> PendingSummary:
    """Count the pending rows, and find the oldest."""
    count, oldest = connection.exec_driver_sql(_SUMMARY).one()
    return PendingSummary(count, None if oldest is None else _instant(oldest))


def exists(connection: Connection) -> bool:
    """Whether anything is pending."""
    return connection.exec_driver_sql(_ANY).first() is not None


def known_ids(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Tell which of these UUIDs are rows of ours, or records adopted for one."""
    values = {"ids": spellings(UUID(text) for text in ids)}
    found = connection.exec_driver_sql(_KNOWN_IDS, values).scalars()
    return {text.lower() for text in found}


def named(connection: Connection, row_id: str) -> PendingRow | None:
    """Read one row, pending or not, by its id as it stands in the table."""
    return next(iter(read(connection, _NAMED, {"id": row_id})), None)


def spellings(keys: Iterable[UUID]) -> list[str]:
    """The ways in which a column of text may hold UUIDs."""
    texts = {str(key) for key in keys}
    return [*texts, *(text.upper() for text in texts)]


def read(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[PendingRow]:
    """Carry out a statement that reads `ROW`, completed by `versioned`."""
    rows = connection.exec_driver_sql(statement, values).mappings()
    return [
        PendingRow(
            row["id"],
            Position(row["position"], row["id"]),
            dict(row),
            row["version"],
        )
        for row in rows
    ]


def _instant(epoch: Decimal) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=float(epoch))
    except OverflowError:
        return _LAST_INSTANT if epoch > 0 else _FIRST_INSTANT
