"""The same rows as Parquet: typed, one file a month.

Figures are doubles, which pandas, DuckDB and Power BI add up as they are; the CSV files
have them exact to the last digit. Texts are as the database has them: nothing in a
Parquet file is taken for a formula.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.csv_datasets import ExportSelection
from apex_pipeline.analytics.csv.csv_files import (
    Written,
    snapshot,
)
from apex_pipeline.analytics.csv.csv_queries import months_statement, select_statement
from apex_pipeline.analytics.csv.export_stores import ExportStore
from apex_pipeline.analytics.csv.table_schema import CsvField, fields
from apex_pipeline.errors import ConfigError, install_extra
from apex_pipeline.postgres.database import Database

_BATCH_ROWS = 10_000
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Month:
    """A written file of one month.

    Attributes:
        name: The file within its store.
        place: Path or URL of the file.
    """

    name: str
    place: str
    rows: int
    size: int


def export_months(
    database: Database, selection: ExportSelection, store: ExportStore, folder: str = ""
) -> list[Month]:
    """Write a file for each month with rows; each is replaced as a whole.

    Args:
        database: Where the rows are.
        selection: Which rows.
        store: Where the files go.
        folder: Begins their names, with a slash at its end.

    Raises:
        ApexError: The file system refuses.
        ConfigError: pyarrow is not installed.
        DatabaseError: One of its kinds.
    """
    _arrow()
    with snapshot(database) as connection:
        written = []
        for month in _months(connection, selection):
            name = f"{folder}{selection.dataset.name}-{month.first:%Y-%m}.parquet"
            whole, _ = write_month(connection, month, store, name)
            written.append(Month(name, store.place(name), whole.rows, whole.size))
    return written


def write_month(
    connection: psycopg.Connection[Any],
    selection: ExportSelection,
    store: ExportStore,
    name: str,
    computed_at: datetime | None = None,
) -> tuple[Written, int]:
    """Write the selection into one file, which is replaced as a whole.

    Args:
        connection: A snapshot of the database.
        selection: The rows.
        store: Where the file goes.
        name: The file within the store.
        computed_at: When the rows were computed; None for now.

    Returns:
        What was written, and how many rows a reader finds in it.

    Raises:
        ApexError: The file system refuses.
        ConfigError: pyarrow is not installed.
    """
    pa, pq = _arrow()
    kinds = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", tz="UTC"),
    }
    columns = fields(connection, selection.dataset)
    schema = pa.schema(
        [pa.field(c.name, kinds.get(c.type, pa.string())) for c in columns]
    )
    count = 0
    with (
        store.replacing(name, computed_at) as file,
        pq.ParquetWriter(file, schema) as to,
    ):
        for rows in _batches(connection, selection, columns):
            values = [_column(c, v) for c, v in zip(columns, rows, strict=True)]
            to.write_table(pa.table(values, schema=schema))
            count += len(values[0])
    with store.reading(name) as file:
        found = pq.ParquetFile(file).metadata.num_rows
        file.seek(0)
        digest, size = hashlib.sha256(), 0
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        return Written(count, size, digest.hexdigest()), found


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow. " + install_extra("parquet")
        ) from None
    return pa, pq


def month_end(first: date) -> date:
    """The last day of the month that begins then."""
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _months(
    connection: psycopg.Connection[Any], selection: ExportSelection
) -> Iterator[ExportSelection]:
    """Split the selection into the months that have rows."""
    for (first,) in connection.execute(months_statement(selection)).fetchall():
        yield replace(
            selection,
            first=max(first, selection.first or first),
            last=min(month_end(first), selection.last or date.max),
        )


def _batches(
    connection: psycopg.Connection[Any],
    selection: ExportSelection,
    columns: Sequence[CsvField],
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as columns, some thousands at a time."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    statement = select_statement(selection, names)
    with connection.cursor(name="parquet") as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(_BATCH_ROWS):
            yield list(zip(*rows, strict=True))


def _column(column: CsvField, values: Sequence[Any]) -> list[Any]:
    if column.type == "string":
        return [None if value is None else str(value) for value in values]
    if column.type == "number":
        return [float(v) if isinstance(v, Decimal) else v for v in values]
    return list(values)
