"""The datasets that can be exported: their relations, columns and order."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg

from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Grain
from apex_pipeline.errors import ConfigError, SchemaMissingError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.settings import AnalysisSettings

_COLUMNS = """
    SELECT attname, typname, typcategory::text, col_description(attrelid, attnum)
    FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""


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


@dataclass(frozen=True, slots=True)
class DatasetColumn:
    """A column that a dataset can write.

    Attributes:
        type: Its type in Postgres, as `pg_type.typname` has it.
        category: The category of the type, as `pg_type.typcategory` has it.
        description: As the database describes it; None where it does not.
    """

    name: str
    type: str
    category: str
    description: str | None


def dataset_columns(
    connection: psycopg.Connection[Any], dataset: Dataset
) -> Mapping[str, DatasetColumn]:
    """The columns of a dataset that the database has, by name, in order.

    Raises:
        SchemaMissingError: The database has no such table or view.
    """
    found = {
        row[0]: DatasetColumn(*row)
        for row in connection.execute(_COLUMNS, (dataset.relation,))
    }
    if not found:
        raise SchemaMissingError(
            f"The database has no {dataset.relation}. Run `apex provision database`."
        )
    if dataset is HISTORY:
        words = "Time zone in which days begin and end."
        return {"time_zone": DatasetColumn("time_zone", "text", "S", words), **found}
    return {name: found[name] for name in dataset.columns or found if name in found}
