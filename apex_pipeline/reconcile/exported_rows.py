"""Read exported rows to compare: by time, by key, or by the time of their mark.

Seconds are seconds since the epoch. Rows whose `created_at` Dataverse cannot hold are in
no window; they are read separately.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.metrics import record_key
from apex_pipeline.postgres.pending_rows import NAMED_VALUES, spellings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = "1753-01-01 00:00:00+00"
_LATEST = "10000-01-01 00:00:00+00"


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A row in Postgres.

    Attributes:
        key: Key of its record; None if the row's id cannot be a key.
        exported_at: Its mark as Postgres prints it; None while it is pending.
        values: Column name to value; `created_at` as seconds since the epoch.
    """

    id: str
    key: UUID | None
    exported_at: str | None
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RowWindow:
    """A range of `created_at`, and the exported rows in it.

    Attributes:
        start: First second; None for no lower bound.
        end: The second after the last; None for no upper bound.
        keys: Key of each row's record, to the row's id; empty if dense.
        dense_second: The second, if it has more rows than are read at once.
        keyless: Ids of rows that cannot have a record.
    """

    start: int | None
    end: int | None
    keys: Mapping[UUID, str]
    keyless: tuple[str, ...] = ()
    dense_second: int | None = None


# An adopted table's column may have no time zone; its times are UTC.
_UTC = "SET LOCAL TIME ZONE 'UTC'"

_KEY = """
    CAST(metric.id AS text) AS id, CAST(adopted.record_id AS text) AS record_id
"""
_FROM = """
    FROM campaign_metrics AS metric
    LEFT JOIN adopted_record AS adopted ON adopted.metric_id = metric.id
"""

_WINDOW = f"""
    SELECT {_KEY},
        CAST(floor(extract(epoch FROM metric.created_at)) AS bigint) AS second
    {_FROM}
    WHERE metric.exported_at IS NOT NULL
        AND metric.created_at >= %(start)s AND metric.created_at < %(end)s
    ORDER BY metric.created_at, metric.id
    LIMIT %(limit)s
"""  # noqa: S608  constants

_DENSE = f"""
    SELECT {_KEY}
    {_FROM}
    WHERE metric.exported_at IS NOT NULL
        AND metric.created_at >= %(start)s AND metric.created_at < %(end)s
        AND (CAST(%(after)s AS text) IS NULL OR CAST(metric.id AS text) > %(after)s)
    ORDER BY CAST(metric.id AS text)
    LIMIT %(limit)s
"""

_ODD = f"""
    SELECT {_KEY}
    {_FROM}
    WHERE metric.exported_at IS NOT NULL
        AND (metric.created_at IS NULL OR metric.created_at < %(start)s
            OR metric.created_at >= %(end)s)
        AND (CAST(%(after)s AS text) IS NULL OR CAST(metric.id AS text) > %(after)s)
    ORDER BY CAST(metric.id AS text)
    LIMIT %(limit)s
"""

_EXPORTED = f"""
    SELECT {_KEY}, CAST(metric.exported_at AS text) AS exported_at
    {_FROM}
    -- The index serves the first line.
    WHERE metric.exported_at IS NOT NULL AND metric.exported_at >= %(since)s
        AND (metric.exported_at, CAST(metric.id AS text)) > (%(since)s, %(after)s)
    ORDER BY metric.exported_at, CAST(metric.id AS text)
    LIMIT %(limit)s
"""

_ADOPTERS = """
    SELECT CAST(metric_id AS text) FROM adopted_record
    WHERE record_id = ANY(CAST(%(keys)s AS uuid[]))
"""

_ROWS = f"""
    SELECT {_KEY}, CAST(metric.exported_at AS text) AS exported_at,
        {NAMED_VALUES}
    {_FROM}
    WHERE metric.id = ANY(%(ids)s)
"""


def read_window(connection: Connection, start: int | None, limit: int) -> RowWindow:
    """Read as many whole seconds from *start* on as have at most *limit* rows."""
    found = _select(
        connection,
        _WINDOW,
        start=_EARLIEST if start is None else _text(start),
        end=_LATEST,
        limit=limit + 1,
    )
    if len(found) <= limit:
        return _window(start, None, found)
    first, last = found[0]["second"], found[-1]["second"]
    if last == first:
        return RowWindow(start, first + 1, {}, dense_second=first)
    return _window(start, last, [each for each in found if each["second"] < last])


def dense_page(
    connection: Connection, second: int, after: str | None, limit: int
) -> list[ExportedRow]:
    """Read ids of exported rows of one second, ordered as text."""
    found = _select(
        connection,
        _DENSE,
        start=_text(second),
        end=_text(second + 1),
        after=after,
        limit=limit,
    )
    return [_row(each) for each in found]


def odd_page(
    connection: Connection, after: str | None, limit: int
) -> list[ExportedRow]:
    """Read ids of exported rows whose time is missing or that no record can hold."""
    found = _select(
        connection, _ODD, start=_EARLIEST, end=_LATEST, after=after, limit=limit
    )
    return [_row(each) for each in found]


def exported_page(
    connection: Connection, since: str, after: str, limit: int
) -> list[ExportedRow]:
    """Read ids of rows marked after an instant, or at it and with a later id.

    Args:
        connection: The transaction.
        since: The instant, as Postgres prints it.
        after: The id.
        limit: The most rows to read.
    """
    found = _select(connection, _EXPORTED, since=since, after=after, limit=limit)
    return [_row(each) for each in found]


def rows_of(connection: Connection, keys: Iterable[UUID]) -> dict[UUID, ExportedRow]:
    """Read the rows that belong to these record keys, exported or not."""
    wanted = set(keys)
    adopters = connection.exec_driver_sql(
        _ADOPTERS, {"keys": [str(key) for key in wanted]}
    ).scalars()
    found = _select(connection, _ROWS, ids=[*spellings(wanted), *adopters])
    rows: dict[UUID, ExportedRow] = {}
    for each in found:
        row = _row(each)
        if row.key in wanted:
            rows[row.key] = max(rows.get(row.key, row), row, key=_claim)
    return rows


def _claim(row: ExportedRow) -> tuple[bool, bool]:
    """Rank text ids that differ only in case: the delivered row owns the record.

    If neither or both were delivered, the one in lower case does; see `pending.ROW`.
    """
    return row.exported_at is not None, row.id == str(row.key)


def overlap(instant: datetime) -> str:
    """The instant 15 minutes earlier, as text for Postgres.

    A mark carries the time of the host that wrote it, by that host's clock. That time is
    earlier than the moment when the mark becomes visible here.
    """
    return (instant - timedelta(minutes=15)).astimezone(UTC).isoformat()


def _window(
    start: int | None, end: int | None, found: Sequence[Mapping[str, Any]]
) -> RowWindow:
    keyed = [(record_key(each["id"], each["record_id"]), each["id"]) for each in found]
    return RowWindow(
        start,
        end,
        {key: row_id for key, row_id in keyed if key is not None},
        tuple(row_id for key, row_id in keyed if key is None),
    )


def _row(found: Mapping[str, Any]) -> ExportedRow:
    row_id, adopted = found["id"], found["record_id"]
    return ExportedRow(
        row_id, record_key(row_id, adopted), found.get("exported_at"), found
    )


def _select(
    connection: Connection, statement: str, **values: object
) -> list[Mapping[str, Any]]:
    connection.exec_driver_sql(_UTC)
    found = connection.exec_driver_sql(statement, values).mappings()
    return [dict(row) for row in found]


def _text(second: int) -> str:
    try:
        instant = _EPOCH + timedelta(seconds=second)
    except OverflowError:
        # The second after the last possible date.
        return _LATEST
    return f"{instant:%Y-%m-%d %H:%M:%S}+00"
