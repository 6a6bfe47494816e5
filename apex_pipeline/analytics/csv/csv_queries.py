"""The SQL for CSV files: which rows, in which order, and how values are written.

Postgres formats the values. Numbers are written with all digits, dates and instants in
ISO 8601 (instants in UTC with their offset), booleans as true and false, null as nothing,
and an empty text as "".

Spreadsheets run a text that looks like a formula. Such a text gets an apostrophe in front,
also after a semicolon, a tab or a line break, where some spreadsheets begin a new cell. A
text that begins with an apostrophe gets another one, so removing one apostrophe at each of
these places restores the text.
"""

import re
from typing import Any

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.csv_datasets import (
    HISTORY,
    RAW,
    DatasetColumn,
    ExportSelection,
    dataset_columns,
)
from apex_pipeline.postgres.local_days import first_instant

# Where a cell can begin: at the start, and after any separator of cells. Then what starts
# a formula, also after blanks and quotes; the last four are full-width forms, which
# Japanese spreadsheets accept too.
_FORMULA = (
    r"(?:^|(?<=[;\t\r\n]))"
    r"(?=['\t\r\n]|[\s\"]*[-=+@\uFF0D\uFF1D\uFF0B\uFF20])"
)


def harmless(text: str) -> str:
    """The text of a cell, with an apostrophe wherever a spreadsheet would run it."""
    return re.sub(_FORMULA, "'", text)


# By type, or by its category; everything else is text. Only to_json writes
# instants as ISO 8601, with a T.
_RENDERED = {
    "uuid": sql.SQL("source.{name}"),
    "N": sql.SQL("source.{name}"),
    "D": sql.SQL("trim('\"' FROM to_json(source.{name})::text)"),
    "B": sql.SQL("source.{name}::text"),
}
_TEXT = sql.SQL("regexp_replace(source.{name}::text, {formula}, '''', 'g')")

_ROWS = sql.SQL("FROM {relation} AS source WHERE {condition}")
_COPY = sql.SQL("COPY ({rows}) TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')")


def copy_statement(
    connection: psycopg.Connection[Any], selection: ExportSelection
) -> sql.Composed:
    """The COPY statement for the rows; the session's time zone must be UTC.

    Raises:
        SchemaMissingError: The database has no such table or view.
    """
    columns = dataset_columns(connection, selection.dataset)
    values = sql.SQL(", ").join(
        _value(name, columns.get(name)) for name in selection.dataset.columns or columns
    )
    return _COPY.format(rows=select_statement(selection, values))


def select_statement(
    selection: ExportSelection, columns: sql.Composable
) -> sql.Composed:
    """The statement that selects the rows, in order."""
    order = sql.SQL(", ").join(
        sql.SQL("source.{}").format(sql.Identifier(name))
        for name in selection.dataset.order
    )
    return sql.SQL("SELECT {} {} ORDER BY {}").format(columns, _rows(selection), order)


def months_statement(selection: ExportSelection) -> sql.Composed:
    """The statement that lists the first days of the months with rows."""
    day = sql.SQL("source.{}").format(sql.Identifier(selection.dataset.label))
    if selection.dataset is RAW:
        zone = sql.Literal(selection.zone)
        day = sql.SQL("({} AT TIME ZONE {})").format(day, zone)
    return sql.SQL(
        "SELECT DISTINCT date_trunc('month', {}::timestamp)::date {} ORDER BY 1"
    ).format(day, _rows(selection))


def count_statement(selection: ExportSelection) -> sql.Composed:
    """The statement that counts the same rows."""
    return sql.SQL("SELECT count(*) {}").format(_rows(selection))


def _value(name: str, column: DatasetColumn | None) -> sql.Composed:
    identifier = sql.Identifier(name)
    rendered = _TEXT
    if column is not None:
        rendered = _RENDERED.get(column.type) or _RENDERED.get(column.category, _TEXT)
    return sql.SQL("{} AS {}").format(
        rendered.format(name=identifier, formula=sql.Literal(_FORMULA)), identifier
    )


def _rows(selection: ExportSelection) -> sql.Composed:
    dataset, zone = selection.dataset, sql.Literal(selection.zone)
    relation: sql.Composable = sql.Identifier(dataset.relation)
    if dataset is HISTORY:
        relation = sql.SQL(
            "(SELECT {}::text AS time_zone, * FROM campaign_history({}, {}))"
        ).format(zone, sql.Literal(selection.days), zone)
    conditions = [sql.SQL("true").format(), *_range(selection)]
    if dataset not in (HISTORY, RAW):
        conditions.append(sql.SQL("source.time_zone = {}").format(zone))
    return _ROWS.format(relation=relation, condition=sql.SQL(" AND ").join(conditions))


def _range(selection: ExportSelection) -> list[sql.Composed]:
    label = sql.Identifier(selection.dataset.label)
    begins, ends = sql.SQL("{day}::date"), sql.SQL("{day}::date")
    comparison = sql.SQL("source.{label} <= {end}")
    if selection.dataset is RAW:
        begins = sql.SQL(first_instant("{day}::date::timestamp", "{zone}"))
        ends = sql.SQL(first_instant("({day}::date + 1)::timestamp", "{zone}"))
        comparison = sql.SQL("source.{label} < {end}")
    zone = sql.Literal(selection.zone)
    conditions = []
    if selection.first is not None:
        begin = begins.format(day=sql.Literal(selection.first), zone=zone)
        conditions.append(
            sql.SQL("source.{label} >= {begin}").format(label=label, begin=begin)
        )
    if selection.last is not None:
        end = ends.format(day=sql.Literal(selection.last), zone=zone)
        conditions.append(comparison.format(label=label, end=end))
    return conditions
