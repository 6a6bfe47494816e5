"""The exported rows, as they are compared: by time, by key, or since they were marked.

Seconds are those since the epoch. Rows whose `created_at` Dataverse could not hold lie
in no window; they come by themselves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.metrics import record_key
from apex_pipeline.postgres.pending_rows import spellings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = "1753-01-01 00:00:00+00"
_LATEST = "10000-01-01 00:00:00+00"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ours.

    Attributes:
        key: Of its record; None where the id cannot be one.
        exported_at: Its mark as Postgres prints it; None while it is pending.
        values: Column name to value; `created_at` as seconds since the epoch.
    """

    id: str
    key: UUID | None
    exported_at: str | None
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Window:
    """A range of `created_at`, and the exported rows in it.

    Attributes:
        start: First second; None for all that is earlier, too.
        end: The second after the last; None for all that is later, too.
        keys: Key of each row's record, or None, to the row's id; empty if dense.
        dense_second: The second that holds more rows than are read at once, if so.
        keyless: Ids of rows that can have no record.
    """

    start: int | None
    end: int | None
    keys: Mapping[UUID, str]
    keyless: tuple[str, ...] = ()
    dense_second: int | None = None


# An adopted table's column may be without time zone; its times are UTC.
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
    -- The first line is what the index serves.
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
        extract(epoch FROM metric.created_at) AS created_at,
        campaign_id, run_id, phase, agents_total, agents_successful, assets_generated,
        tokens_in, tokens_out, cost_usd, latency_p95_ms, latency_avg_ms,
        success_rate_pct
    {_FROM}
    WHERE metric.id = ANY(%(ids)s)
"""  # noqa: S608  constants


def read_window(connection: Connection, start: int | None, limit: int) -> Window:
    """Read whole seconds from *start* on, as many as hold no more than *limit* rows."""
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
        return Window(start, first + 1, {}, dense_second=first)
    return _window(start, last, [each for each in found if each["second"] < last])


def dense_page(
    connection: Connection, second: int, after: str | None, limit: int
) -> list[Row]:
    """Read ids of exported rows of one second, in the order of their text."""
    found = _select(
        connection,
        _DENSE,
        start=_text(second),
        end=_text(second + 1),
        after=after,
        limit=limit,
    )
    return [_row(each) for each in found]


def odd_page(connection: Connection, after: str | None, limit: int) -> list[Row]:
    """Read ids of exported rows whose time no record can hold, or that have none."""
    found = _select(
        connection, _ODD, start=_EARLIEST, end=_LATEST, after=after, limit=limit
    )
    return [_row(each) for each in found]


def exported_page(
    connection: Connection, since: str, after: str, limit: int
) -> list[Row]:
    """Read ids of rows that were marked after an instant, or at it and with a later id.

    Args:
        connection: The transaction.
        since: The instant, as Postgres prints it.
        after: The id.
        limit: Most rows.
    """
    found = _select(connection, _EXPORTED, since=since, after=after, limit=limit)
    return [_row(each) for each in found]


def rows_of(connection: Connection, keys: Iterable[UUID]) -> dict[UUID, Row]:
    """Read the rows whose records have these keys, exported or not."""
    wanted = set(keys)
    adopters = connection.exec_driver_sql(
        _ADOPTERS, {"keys": [str(key) for key in wanted]}
    ).scalars()
    found = _select(connection, _ROWS, ids=[*spellings(wanted), *adopters])
    rows: dict[UUID, Row] = {}
    for each in found:
        row = _row(each)
        if row.key in wanted:
            rows[row.key] = max(rows.get(row.key, row), row, key=_claim)
    return rows


def _claim(row: Row) -> tuple[bool, bool]:
    """Of two ids of text that differ in case, the delivered one owns the record.

    Else the one in small letters does; see `pending.ROW`.
    """
    return row.exported_at is not None, row.id == str(row.key)


def overlap(instant: datetime) -> str:
    """An instant a quarter of an hour earlier, as Postgres reads it.

    A mark bears the time at which its host wrote it, by that host's clock, which is
    before it is seen here.
    """
    return (instant - timedelta(minutes=15)).astimezone(UTC).isoformat()


def _window(
    start: int | None, end: int | None, found: Sequence[Mapping[str, Any]]
) -> Window:
    keyed = [(record_key(each["id"], each["record_id"]), each["id"]) for each in found]
    return Window(
        start,
        end,
        {key: row_id for key, row_id in keyed if key is not None},
        tuple(row_id for key, row_id in keyed if key is None),
    )


def _row(found: Mapping[str, Any]) -> Row:
    row_id, adopted = found["id"], found["record_id"]
    return Row(row_id, record_key(row_id, adopted), found.get("exported_at"), found)


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
        # The second after the last that has a date.
        return _LATEST
    return f"{instant:%Y-%m-%d %H:%M:%S}+00"
