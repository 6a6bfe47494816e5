"""The same rows as Parquet: typed, one file a month.

Figures are doubles, which pandas, DuckDB and Power BI add up as they are; the CSV files
have them exact to the last digit. Texts are as the database has them: nothing in a
Parquet file is taken for a formula.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.csv_files import (
    Written,
    explained,
    make_folder,
    replacing,
    snapshot,
)
from apex_pipeline.analytics.csv.queries import (
    Selection,
    months_statement,
    select_statement,
)
from apex_pipeline.analytics.csv.table_schema import Field, fields
from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres.database import Database

_BATCH_ROWS = 10_000


def export_months(
    database: Database, selection: Selection, folder: Path
) -> list[tuple[Path, int]]:
    """Write a file for each month with rows; each is replaced as a whole.

    Returns:
        The files, and how many rows each has.

    Raises:
        ApexError: The file system refuses.
        ConfigError: pyarrow is not installed.
        DatabaseError: One of its kinds.
    """
    _arrow()
    with snapshot(database) as connection:
        make_folder(folder)
        written = []
        for month in _months(connection, selection):
            path = folder / f"{selection.dataset.name}-{month.first:%Y-%m}.parquet"
            whole, _ = write_month(connection, month, path)
            written.append((path, whole.rows))
    return written


def write_month(
    connection: psycopg.Connection[Any],
    selection: Selection,
    path: Path,
    modified: datetime | None = None,
) -> tuple[Written, int]:
    """Write the selection into one file, which is replaced as a whole.

    Args:
        connection: A snapshot of the database.
        selection: The rows.
        path: Its folder must exist.
        modified: Its modification time; None for now.

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
        replacing(path, modified=modified) as file,
        pq.ParquetWriter(file, schema) as to,
    ):
        for rows in _batches(connection, selection, columns):
            values = [_column(c, v) for c, v in zip(columns, rows, strict=True)]
            to.write_table(pa.table(values, schema=schema))
            count += len(values[0])
    with explained(path), path.open("rb") as file:
        found = pq.ParquetFile(file).metadata.num_rows
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Written(count, path.stat().st_size, digest), found


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow: install apex-pipeline[parquet]."
        ) from None
    return pa, pq


def month_end(first: date) -> date:
    """The last day of the month that begins then."""
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _months(
    connection: psycopg.Connection[Any], selection: Selection
) -> Iterator[Selection]:
    """Split the selection into the months that have rows."""
    for (first,) in connection.execute(months_statement(selection)).fetchall():
        yield replace(
            selection,
            first=max(first, selection.first or first),
            last=min(month_end(first), selection.last or date.max),
        )


def _batches(
    connection: psycopg.Connection[Any], selection: Selection, columns: Sequence[Field]
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows as columns, some thousands at a time."""
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    statement = select_statement(selection, names)
    with connection.cursor(name="parquet") as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(_BATCH_ROWS):
            yield list(zip(*rows, strict=True))


def _column(column: Field, values: Sequence[Any]) -> list[Any]:
    if column.type == "string":
        return [None if value is None else str(value) for value in values]
    if column.type == "number":
        return [float(v) if isinstance(v, Decimal) else v for v in values]
    return list(values)
