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
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
from psycopg import sql

from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Grain
from apex_pipeline.errors import ConfigError, SchemaMissingError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.postgres.local_days import first_instant
from apex_pipeline.settings import AnalysisSettings


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows that can be exported.

    Attributes:
        relation: The table or view.
        label: Column that selects a range of days.
        order: Columns that define the order of the rows.
        columns: The columns to write, in order; by default all of the relation.
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
class ExportSelection:
    """Which rows of a dataset to export.

    Attributes:
        zone: IANA name of the time zone of the days.
        first: First day, or Monday of the first week; None for the oldest.
        last: Last day, inclusive; None for the newest.
        days: Length of the history, and of the window before it.
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
) -> ExportSelection:
    """Validate a selection; the arguments are those of `ExportSelection`.

    The default time zone is the business time zone.

    Raises:
        ConfigError: The dataset, time zone or range of days is invalid.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise ConfigError(
            f"Unknown dataset {name}. Choose from: {', '.join(DATASETS)}."
        )
    if first is not None and last is not None and first > last:
        raise ConfigError(f"{first} is after {last}.")
    if days is not None and dataset is not HISTORY:
        raise ConfigError(
            "`days` applies only to history; for other datasets, set `first` and `last`."
        )
    if days is not None and not 1 <= days <= MOST_HISTORY_DAYS:
        raise ConfigError(f"`days` must be 1 to {MOST_HISTORY_DAYS}, not {days}.")
    zone = settings.time_zone if zone is None else zone
    _check_zone(settings, dataset, zone)
    return ExportSelection(dataset, zone, first, last, days or HISTORY_DAYS)


def _check_zone(settings: AnalysisSettings, dataset: Dataset, zone: str) -> None:
    if dataset is not RAW:
        if zone not in settings.time_zones:
            raise ConfigError(
                f"Rollups exist for {' and '.join(settings.time_zones)}, not for {zone}. "
                "Set APEX_TIME_ZONE to the time zone that you need besides UTC."
            )
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"{zone} is not an IANA time zone such as Europe/Berlin."
        ) from None


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


_COLUMNS = """
    SELECT attname, CASE typname WHEN 'uuid' THEN 'uuid' ELSE typcategory::text END
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""

# By type category (pg_type.typcategory); everything else is text. Only to_json writes
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


def _value(name: str, kind: str) -> sql.Composed:
    identifier = sql.Identifier(name)
    rendered = _RENDERED.get(kind, _TEXT)
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
