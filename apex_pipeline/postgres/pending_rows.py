"""Read pending rows of `campaign_metrics` in order.

Ids are passed as text and compared in the type of the id column, because an adopted
table may use text instead of uuid. That is why the statements bypass SQLAlchemy's
compiler, which would give each bound string a type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.column_types import Text, Timestamp
from apex_pipeline.metrics import COLUMNS, Column


class Position(NamedTuple):
    """The position of a row in the order of the pending rows.

    Attributes:
        created_at: The instant as Postgres prints it, to the microsecond; None sorts
            last.
        id: The row's key.
    """

    created_at: str | None
    id: str


class PendingRow(NamedTuple):
    """A row to be delivered; a dataclass takes twice as long to make.

    Attributes:
        version: A value that changes with every update; see `versioned`.
        values: Column name to value; `created_at` as seconds since the epoch, because
            Postgres has instants that Python has not.
        created_at: The instant as Postgres prints it, to the microsecond.
    """

    id: str
    version: str
    created_at: str | None
    values: Mapping[str, object]

    @property
    def position(self) -> Position:
        """Where it is in the order of the pending rows."""
        return Position(self.created_at, self.id)


@dataclass(frozen=True, slots=True)
class PendingSummary:
    """How many rows are pending, and since when.

    Attributes:
        oldest_created_at: Of the oldest row that was never rejected (aware, UTC),
            clipped to Python's years; None if there is no such row.
        oldest_retry_at: When the first of the rejected rows that are pending again became
            due, likewise; None if there is none.
    """

    count: int
    oldest_created_at: datetime | None
    oldest_retry_at: datetime | None = None

    @property
    def oldest_due_at(self) -> datetime | None:
        """Since when the oldest row may have been sent, by what the rows say.

        None if there is no row, or only undated rows of an adopted table.
        """
        known = (self.oldest_created_at, self.oldest_retry_at)
        return min((each for each in known if each is not None), default=None)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def _value(column: Column) -> str:
    name = f"metric.{column.postgres}"
    if isinstance(column.type, Timestamp):
        return f"extract(epoch FROM {name})"
    # Python would make an object of each UUID, and then a text.
    return f"CAST({name} AS text)" if isinstance(column.type, Text) else name


_VALUES = ", ".join(map(_value, COLUMNS))

NAMED_VALUES = ", ".join(f"{_value(each)} AS {each.postgres}" for each in COLUMNS)
"""The values of the columns that travel, each by its name; instants as seconds since the
epoch. The statement must call the row `metric`."""

# Views have no xmin, and that of a foreign table is meaningless; there the values are the
# version.
_VERSION = f"""
    CASE WHEN (
        SELECT relkind FROM pg_class WHERE oid = CAST('campaign_metrics' AS regclass)
    ) = 'r' THEN CAST(xmin AS text)
    ELSE md5(CAST(ROW({_VALUES}) AS text)) END
"""  # noqa: S608  constants


def versioned(statement: str) -> str:
    """Complete a statement: `{version}` becomes the version of the row `metric`.

    Every table has a column `xmin`, a view has none. If `campaign_metrics` is a view,
    the name resolves to the column of the outer query instead.
    """
    return f"""
        SELECT found.*
        FROM (VALUES (CAST(NULL AS xid))) AS absent (xmin)
        CROSS JOIN LATERAL ({statement.replace("{version}", _VERSION)}) AS found
    """  # noqa: S608  constants


ROW = f"""
    SELECT CAST(id AS text) AS id,
        {{version}} AS version,
        CAST(created_at AS text) AS position,
        {NAMED_VALUES},
        (
            SELECT CAST(record_id AS text) FROM adopted_record
            WHERE metric_id = metric.id
        ) AS record_id,
        -- Text distinguishes case where a UUID does not: two such rows are one record.
        -- It belongs to the delivered row, else to the one in lower case.
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
"""  # noqa: S608  constants
"""The columns read of a row, which the following `FROM` must call `metric`. Complete the
statement with `versioned`."""

DUE = """
    metric.exported_at IS NULL AND NOT EXISTS (
        SELECT FROM campaign_metrics_quarantine
        WHERE metric_id = metric.id AND next_attempt_at > now()
    )
"""
"""The condition of `campaign_metrics_pending`; the view itself hides row versions."""

IN_ORDER = """
    ORDER BY metric.created_at, metric.id
    LIMIT %(limit)s
"""
"""The oldest rows; binds `limit`. The order is total."""

AFTER = "(metric.created_at, metric.id) > (%(created_at)s, %(id)s)"
"""Rows after a position; binds its two parts."""

_PENDING = f"{ROW} FROM campaign_metrics AS metric WHERE {DUE}"

FIRST_PAGE = versioned(f"{_PENDING} {IN_ORDER}")
"""The oldest pending rows; binds `limit`."""

_NEXT_PAGE = versioned(f"{_PENDING} AND {AFTER} {IN_ORDER}")

# A comparison with null is never true, and created_at of an adopted table may be null.
_UNDATED_PAGE = versioned(f"{_PENDING} AND metric.created_at IS NULL {IN_ORDER}")

_NEXT_UNDATED_PAGE = versioned(f"""{_PENDING}
    AND metric.created_at IS NULL AND metric.id > %(id)s
    {IN_ORDER}""")

_NAMED = versioned(f"{ROW} FROM campaign_metrics AS metric WHERE metric.id = %(id)s")

# A rejected row is pending again whenever it is due; its age says nothing about how well
# the sync keeps up, and since when it is due does.
_SUMMARY = """
    SELECT count(*),
        extract(epoch FROM min(created_at) FILTER (WHERE rejected.metric_id IS NULL)),
        extract(epoch FROM min(rejected.next_attempt_at))
    FROM campaign_metrics_pending AS pending
    LEFT JOIN campaign_metrics_quarantine AS rejected ON rejected.metric_id = pending.id
"""

# The order makes the planner use the partial index, whatever share of the table it
# estimates to be pending.
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
    """Read the pending rows after a position, oldest first."""
    if after is None:
        return read(connection, FIRST_PAGE, {"limit": limit})
    if after.created_at is None:
        return read(connection, _NEXT_UNDATED_PAGE, {"id": after.id, "limit": limit})
    found = read(connection, _NEXT_PAGE, after._asdict() | {"limit": limit})
    if len(found) < limit:
        found += read(connection, _UNDATED_PAGE, {"limit": limit - len(found)})
    return found


def summary(connection: Connection) -> PendingSummary:
    """Count the pending rows and find the oldest."""
    count, *found = connection.exec_driver_sql(_SUMMARY).one()
    return PendingSummary(
        count, *(None if each is None else _instant(each) for each in found)
    )


def exists(connection: Connection) -> bool:
    """Whether anything is pending."""
    return connection.exec_driver_sql(_ANY).first() is not None


def known_ids(connection: Connection, ids: Iterable[str]) -> set[str]:
    """The given UUIDs that are rows in Postgres, or records adopted for one."""
    values = {"ids": spellings(UUID(text) for text in ids)}
    found = connection.exec_driver_sql(_KNOWN_IDS, values).scalars()
    return {text.lower() for text in found}


def named(connection: Connection, row_id: str) -> PendingRow | None:
    """Read one row, pending or not, by its id exactly as in the table."""
    return next(iter(read(connection, _NAMED, {"id": row_id})), None)


def spellings(keys: Iterable[UUID]) -> list[str]:
    """The spellings of UUIDs in a text column: lower and upper case."""
    texts = {str(key) for key in keys}
    return [*texts, *(text.upper() for text in texts)]


def read(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[PendingRow]:
    """Run a statement that reads `ROW`, in its order, completed by `versioned`."""
    found = connection.exec_driver_sql(statement, values)
    names = tuple(found.keys())
    # SQLAlchemy's own rows and mappings take several times as long.
    return [
        PendingRow(row[0], row[1], row[2], dict(zip(names, row, strict=True)))
        for row in found.cursor.fetchall()
    ]


def _instant(epoch: Decimal) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=float(epoch))
    except OverflowError:
        return _LAST_INSTANT if epoch > 0 else _FIRST_INSTANT
