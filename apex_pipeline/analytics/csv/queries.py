"""What a CSV file holds: which rows, in which order, and how each value is written.

Postgres writes the values, and this module only words the statement. Numbers are
written digit by digit, dates and instants in ISO 8601, instants in UTC with their
offset, booleans as true and false, null as nothing and an empty text as "".

A spreadsheet takes a text that begins like a formula for one, and runs it. Such a text
gets an apostrophe before it, also where a semicolon, a tab or a line break comes before:
a spreadsheet whose language separates columns by semicolons begins a cell there. One
that begins with an apostrophe gets another, so that nothing is lost: whoever removes one
apostrophe at each of these places has the text back.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg import sql

from apex_pipeline.analytics.rollups.refresh import DAILY, WEEKLY, Grain
from apex_pipeline.errors import ConfigError, SchemaMissingError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.postgres.local_days import first_instant
from apex_pipeline.settings import AnalysisSettings


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows that can be had as CSV.

    Attributes:
        relation: The table or view whose columns they have.
        label: Column by which a range of days is chosen.
        order: Columns that put the rows into one order.
        columns: Those that are written, in this order; all of the relation's, in its
            own, where there are none.
    """

    name: str
    relation: str
    label: str
    order: tuple[str, ...]
    columns: tuple[str, ...] = ()


def _rollup(name: str, grain: Grain) -> Dataset:
    key = ("time_zone", grain.label, "campaign_id", "phase")
    return Dataset(name, f"zoned_campaign_{name}", grain.label, key)


DAILY_ROWS = _rollup("daily", DAILY)
WEEKLY_ROWS = _rollup("weekly", WEEKLY)
HISTORY = Dataset("history", "campaign_history_90d", "day", ("day",))
FORECAST = Dataset("forecast", "cost_forecast", "day", ("day",))
FORECAST_TOTALS = Dataset(
    "forecast-totals", "cost_forecast_horizon", "last_day", ("last_day", "horizon")
)
FORECAST_CAMPAIGNS = Dataset(
    "forecast-campaigns",
    "cost_forecast_campaign",
    "last_day",
    ("campaign_id", "last_day", "horizon"),
)
RAW = Dataset(
    "raw",
    "campaign_metrics",
    "created_at",
    ("created_at", "id"),
    ("id", *(column.postgres for column in COLUMNS), "exported_at"),
)
DATASETS = {
    dataset.name: dataset
    for dataset in (
        *(DAILY_ROWS, WEEKLY_ROWS, HISTORY),
        *(FORECAST, FORECAST_TOTALS, FORECAST_CAMPAIGNS, RAW),
    )
}

HISTORY_DAYS = 90
MOST_HISTORY_DAYS = 3660


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a dataset that are wanted.

    Attributes:
        zone: IANA name of the time zone in which days begin and end.
        first: First day, or first Monday of a week; None for the oldest.
        last: Last day, included; None for the newest.
        days: How many days the history goes back, and the window before it.
    """

    dataset: Dataset
    zone: str
    first: date | None = None
    last: date | None = None
    days: int = HISTORY_DAYS


def select(
    settings: AnalysisSettings,
    name: str,
    *,
    zone: str | None = None,
    first: date | None = None,
    last: date | None = None,
    days: int | None = None,
) -> Selection:
    """Check what was asked for; each argument is as `Selection` has it.

    Without a time zone the business's own is meant.

    Raises:
        ConfigError: There is no such dataset or time zone, or no such range of days.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ConfigError(f"There is {', '.join(DATASETS)}; not {name}.")
    if first is not None and last is not None and first > last:
        raise ConfigError(f"{first} is after {last}.")
    if days is not None and dataset is not HISTORY:
        raise ConfigError("A number of days is for the history alone; name two dates.")
    if days is not None and not 1 <= days <= MOST_HISTORY_DAYS:
        raise ConfigError(f"A history has 1 to {MOST_HISTORY_DAYS} days, not {days}.")
    zone = settings.time_zone if zone is None else zone
    _check_zone(settings, dataset, zone)
    return Selection(dataset, zone, first, last, days or HISTORY_DAYS)


def _check_zone(settings: AnalysisSettings, dataset: Dataset, zone: str) -> None:
    if dataset is not RAW:
        if zone not in settings.time_zones:
            raise ConfigError(
                f"Rollups are made for {' and '.join(settings.time_zones)}, not for "
                f"{zone}. APEX_TIME_ZONE names the one besides UTC."
            )
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"A time zone is an IANA name like Europe/Berlin; {zone} is none."
        ) from None


# Where a cell can begin: at the start, and after what separates cells for somebody. Then
# what makes a spreadsheet take it for a formula, also behind blanks and quotes; the
# last four are the wide forms that Japanese spreadsheets read like the first.
_FORMULA = (
    r"(?:^|(?<=[;\t\r\n]))"
    r"(?=['\t\r\n]|[\s\"]*[-=+@\uFF0D\uFF1D\uFF0B\uFF20])"
)


def harmless(text: str) -> str:
    """The text of a cell, with an apostrophe wherever a spreadsheet would run it."""
    return re.sub(_FORMULA, "'", text)


_COLUMNS = """
    SELECT attname, CASE typname WHEN 'uuid' THEN 'uuid' ELSE typcategory::text END
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

# By Postgres' names of the kinds of types (pg_type.typcategory); what is none of these is
# text. Instants come out of JSON alone as ISO 8601 has them, with a T.
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
    connection: psycopg.Connection[Any], selection: Selection
) -> sql.Composed:
    """Word the statement that has Postgres write the rows as CSV.

    Whoever runs it has set the session's time zone to UTC.

    Raises:
        SchemaMissingError: The database has no such table or view.
    """
    dataset = selection.dataset
    kinds: dict[str, str] = dict(
        connection.execute(_COLUMNS, (dataset.relation,)).fetchall()
    )
    if not kinds:
        raise SchemaMissingError(
            f"The database has no {dataset.relation}. Run `apex provision database`."
        )
    if dataset is HISTORY:
        kinds = {"time_zone": "S", **kinds}
    columns = dataset.columns or tuple(kinds)
    values = sql.SQL(", ").join(_value(n, kinds.get(n, "S")) for n in columns)
    return _COPY.format(rows=select_statement(selection, values))


def select_statement(selection: Selection, columns: sql.Composable) -> sql.Composed:
    """Word the statement that selects the rows, in their order."""
    order = sql.SQL(", ").join(
        sql.SQL("source.{}").format(sql.Identifier(name))
        for name in selection.dataset.order
    )
    return sql.SQL("SELECT {} {} ORDER BY {}").format(columns, _rows(selection), order)


def months_statement(selection: Selection) -> sql.Composed:
    """Word the statement that names the months that have rows, by their first days."""
    day = sql.SQL("source.{}").format(sql.Identifier(selection.dataset.label))
    if selection.dataset is RAW:
        zone = sql.Literal(selection.zone)
        day = sql.SQL("({} AT TIME ZONE {})").format(day, zone)
    return sql.SQL(
        "SELECT DISTINCT date_trunc('month', {}::timestamp)::date {} ORDER BY 1"
    ).format(day, _rows(selection))


def count_statement(selection: Selection) -> sql.Composed:
    """Word the statement that counts the same rows."""
    return sql.SQL("SELECT count(*) {}").format(_rows(selection))


def _value(name: str, kind: str) -> sql.Composed:
    identifier = sql.Identifier(name)
    rendered = _RENDERED.get(kind, _TEXT)
    return sql.SQL("{} AS {}").format(
        rendered.format(name=identifier, formula=sql.Literal(_FORMULA)), identifier
    )


def _rows(selection: Selection) -> sql.Composed:
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


def _range(selection: Selection) -> list[sql.Composed]:
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
