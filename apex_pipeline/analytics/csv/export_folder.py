"""The exported files: a file for each day and week, and one for each view.

    daily/2026-11-25.csv    the rollup of a day; no file if nothing ran
    weekly/2026-11-23.csv   the rollup of a week, by its Monday; likewise
    history_90d.csv         the current history; also of 30 and of 60 days
    forecast.csv            the newest forecast by day; forecast_totals.csv has its sums,
                            forecast_campaigns.csv those by campaign
    schema.json             the types of the columns, as Table Schema
    parquet/…               where it is configured: days and weeks, one file a month

Everything is in the business time zone, so no sum counts a run twice. The store
knows of each file of a day or week when its rollup was computed. So what
is missing or out of date is seen by looking, and made again with whatever else is made:
a day that was late, a week that was computed since, a file or a folder that somebody
deleted. Where a campaign has another name than `schema.json` knows of, all are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import psycopg

from apex_pipeline.analytics.csv.csv_datasets import (
    DAILY_ROWS,
    FORECAST,
    FORECAST_CAMPAIGNS,
    FORECAST_TOTALS,
    HISTORY,
    WEEKLY_ROWS,
    Dataset,
    ExportSelection,
)
from apex_pipeline.analytics.csv.csv_files import (
    count,
    count_rows,
    snapshot,
    write_csv,
)
from apex_pipeline.analytics.csv.csv_queries import count_statement
from apex_pipeline.analytics.csv.export_stores import ExportStore, export_store
from apex_pipeline.analytics.csv.exported_files import ExportedFile
from apex_pipeline.analytics.csv.parquet_files import month_end, write_month
from apex_pipeline.analytics.csv.table_schema import (
    described_names,
    names_digest,
    package,
)
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Grain, Periods
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings

logger = logging.getLogger(__name__)

# A week is compared with the one before it, and changes with it.
_COMPUTED_AT = {
    DAILY_ROWS: "computed_at",
    WEEKLY_ROWS: "greatest(computed_at, lag(computed_at) OVER (ORDER BY week))",
}
_COMPUTED = """
    SELECT {label}, {computed_at}, EXISTS (
        SELECT FROM {rollup} AS part
        WHERE part.time_zone = total.time_zone AND part.{label} = total.{label}
    )
    FROM {total} AS total WHERE time_zone = %s ORDER BY {label}
"""
_HISTORIES = (30, 60, 90)
_PATHS = {
    DAILY_ROWS: "daily/*.csv",
    WEEKLY_ROWS: "weekly/*.csv",
    HISTORY: "history_*d.csv",
    FORECAST: "forecast.csv",
    FORECAST_TOTALS: "forecast_totals.csv",
    FORECAST_CAMPAIGNS: "forecast_campaigns.csv",
}


_DESCRIPTION = "schema.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """What one run has written.

    Attributes:
        place: Path or URL of the folder.
        was_empty: Whether no run had written there before, or nothing is left of it.
    """

    files: list[ExportedFile]
    place: str
    was_empty: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    selection: ExportSelection
    label: date | None = None
    computed_at: datetime | None = None


def export_files(
    database: Database, settings: AnalysisSettings, days: Periods
) -> Exported:
    """Write the files of these days, the current views, and all files out of date.

    All files show the database at one moment. Each file is replaced as a whole; after a
    failure, the files before it stay replaced.

    Args:
        database: Where the rollups are.
        settings: The store and the time zone.
        days: Days whose files are written even if they are up to date.

    Raises:
        ApexError: A day has no rollup, or the store refuses.
        ConfigError: The adapter for the store is not installed.
        DatabaseError: One of its kinds.
    """
    store = export_store(settings)
    with snapshot(database) as connection:
        # It is written last, so it has the names of the files that are there.
        description = _read(store, _DESCRIPTION)
        renamed = described_names(description) != names_digest(connection)
        find = partial(
            _labelled, connection, settings.time_zone, store, renamed=renamed
        )
        wanted = [
            *find(DAILY_ROWS, DAILY, always=days.labels()),
            *find(WEEKLY_ROWS, WEEKLY),
            *_current(settings.time_zone),
        ]
        files = [_export(connection, store, one) for one in wanted]
        if settings.export_parquet:
            files += _export_parquet(
                connection, settings.time_zone, store, renamed=renamed
            )
        store.finish()
        with store.replacing(_DESCRIPTION) as file:
            file.write(package(connection, _PATHS, settings.time_zone))
    logger.info("%d files written to %s", len(files), store.place())
    return Exported(files, store.place(), was_empty=description is None)


def _read(store: ExportStore, name: str) -> bytes | None:
    try:
        with store.reading(name) as file:
            return file.read()
    except FileNotFoundError:
        return None


def _computed(
    connection: psycopg.Connection[Any], zone: str, dataset: Dataset, grain: Grain
) -> list[tuple[date, datetime, bool]]:
    """Each computed day or week, when that was, and whether it has rows."""
    statement = _COMPUTED.format(
        label=grain.label,
        rollup=grain.rollup,
        total=grain.total,
        computed_at=_COMPUTED_AT[dataset],
    )
    return connection.execute(statement.encode(), (zone,)).fetchall()


def _labelled(
    connection: psycopg.Connection[Any],
    zone: str,
    store: ExportStore,
    dataset: Dataset,
    grain: Grain,
    *,
    always: Sequence[date] = (),
    renamed: bool,
) -> list[_Wanted]:
    computed = _computed(connection, zone, dataset, grain)
    known = {label for label, *_ in computed}
    missing = [label for label in always if label not in known]
    if missing:
        raise ApexError(
            f"{grain.rollup} has not been computed for {missing[0]} to {missing[-1]} in "
            f"{zone} ({len(missing)} of the requested days). Compute it first."
        )
    asked_for = frozenset(always)
    wanted = []
    for label, computed_at, has_rows in computed:
        name = f"{dataset.name}/{label}.csv"
        if not has_rows:
            # Of a header alone nothing tells the types, and readers guess differently.
            store.remove(name)
        elif renamed or label in asked_for or store.computed_at(name) != computed_at:
            selection = ExportSelection(dataset, zone, label, label)
            wanted.append(_Wanted(name, selection, label, computed_at))
    return wanted


def _current(zone: str) -> list[_Wanted]:
    return [
        *(
            _Wanted(f"history_{days}d.csv", ExportSelection(HISTORY, zone, days=days))
            for days in _HISTORIES
        ),
        *(
            _Wanted(_PATHS[dataset], ExportSelection(dataset, zone))
            for dataset in (FORECAST, FORECAST_TOTALS, FORECAST_CAMPAIGNS)
        ),
    ]


def _export(
    connection: psycopg.Connection[Any], store: ExportStore, wanted: _Wanted
) -> ExportedFile:
    with store.replacing(wanted.name, wanted.computed_at) as file:
        written = write_csv(connection, wanted.selection, file)
    place = store.place(wanted.name)
    with store.reading(wanted.name) as file:
        found = count_rows(file, place)
    return ExportedFile(
        wanted.selection.dataset,
        wanted.label,
        wanted.name,
        place,
        written,
        count(connection, count_statement(wanted.selection)),
        found,
    )


def _export_parquet(
    connection: psycopg.Connection[Any], zone: str, store: ExportStore, *, renamed: bool
) -> list[ExportedFile]:
    """Write the months that are out of date, by the time of their newest rollup."""
    files = []
    for dataset, grain in ((DAILY_ROWS, DAILY), (WEEKLY_ROWS, WEEKLY)):
        months: dict[date, list[tuple[datetime, bool]]] = {}
        for label, computed_at, has_rows in _computed(connection, zone, dataset, grain):
            months.setdefault(label.replace(day=1), []).append((computed_at, has_rows))
        for first, labels in months.items():
            name = f"parquet/{dataset.name}-{first:%Y-%m}.parquet"
            newest = max(computed_at for computed_at, _ in labels)
            if not any(has_rows for _, has_rows in labels):
                store.remove(name)
            elif renamed or store.computed_at(name) != newest:
                selection = ExportSelection(dataset, zone, first, month_end(first))
                written, found = write_month(connection, selection, store, name, newest)
                wanted = count(connection, count_statement(selection))
                place = store.place(name)
                files.append(
                    ExportedFile(dataset, None, name, place, written, wanted, found)
                )
    return files
