"""The same rows as Parquet: typed, one file a month.

Figures are doubles, which pandas, DuckDB and Power BI add up as they are; the CSV files
have them exact to the last digit. Texts are as the database has them: nothing in a
Parquet file is taken for a formula.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.csv_files import make_folder, replacing, snapshot
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
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ConfigError(
            "Parquet needs pyarrow: install apex-pipeline[parquet]."
        ) from None
    kinds = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", tz="UTC"),
    }
    written = []
    with snapshot(database) as connection:
        columns = fields(connection, selection.dataset)
        schema = pa.schema(
            [pa.field(c.name, kinds.get(c.type, pa.string())) for c in columns]
        )
        make_folder(folder)
        for month in _months(connection, selection):
            name = f"{selection.dataset.name}-{month.first:%Y-%m}.parquet"
            count = 0
            with replacing(folder / name) as file, pq.ParquetWriter(file, schema) as to:
                for rows in _batches(connection, month, columns):
                    values = [_column(c, v) for c, v in zip(columns, rows, strict=True)]
                    to.write_table(pa.table(values, schema=schema))
                    count += len(values[0])
            written.append((folder / name, count))
    return written


def _months(
    connection: psycopg.Connection[Any], selection: Selection
) -> Iterator[Selection]:
    """Split the selection into the months that have rows."""
    for (first,) in connection.execute(months_statement(selection)).fetchall():
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        yield replace(
            selection,
            first=max(first, selection.first or first),
            last=min(last, selection.last or date.max),
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
