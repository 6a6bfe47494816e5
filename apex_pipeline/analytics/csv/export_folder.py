"""The folder of CSV files: a file for each day and week, and one for each view.

    daily/2026-11-25.csv    the rollup of a day; no file if nothing ran
    weekly/2026-11-23.csv   the rollup of a week, by its Monday; likewise
    history_90d.csv         the current history; also of 30 and of 60 days
    forecast.csv            the newest forecast by day; forecast_totals.csv has its sums,
                            forecast_campaigns.csv those by campaign
    schema.json             the types of the columns, as Table Schema
    parquet/…               where it is configured: days and weeks, one file a month

Everything is in the business time zone, so no sum counts a run twice. A file
of a day or week says by its time of modification when its rollup was computed. So what
is missing or out of date is seen by looking, and made again with whatever else is made:
a day that was late, a week that was computed since, a file or a folder that somebody
deleted. Where a campaign has another name than `schema.json` knows of, all are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from apex_pipeline.analytics.csv.csv_files import (
    EPOCH,
    Tell,
    Written,
    count,
    count_rows,
    explained,
    make_folder,
    replacing,
    snapshot,
    write_csv,
)
from apex_pipeline.analytics.csv.exported_files import ExportedFile
from apex_pipeline.analytics.csv.parquet_files import (
    export_months,
    month_end,
    write_month,
)
from apex_pipeline.analytics.csv.queries import (
    DAILY_ROWS,
    FORECAST,
    FORECAST_CAMPAIGNS,
    FORECAST_TOTALS,
    HISTORY,
    WEEKLY_ROWS,
    Dataset,
    Selection,
    count_statement,
)
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


@dataclass(frozen=True, slots=True)
class _Wanted:
    path: Path
    selection: Selection
    label: date | None = None
    computed_at: datetime | None = None


def export_files(
    database: Database, settings: AnalysisSettings, days: Periods
) -> list[ExportedFile]:
    """Write the files of these days, the current views, and all files out of date.

    All files show the database at one moment. Each file is replaced as a whole; after a
    failure, the files before it stay replaced.

    Args:
        database: Where the rollups are.
        settings: The folder and the time zone.
        days: Days whose files are written even if they are up to date.

    Raises:
        ApexError: A day has no rollup, or the file system refuses.
        DatabaseError: One of its kinds.
    """
    description = settings.export_dir / "schema.json"
    with snapshot(database) as connection:
        # It is written last, so it has the names of the files that are there.
        renamed = described_names(description) != names_digest(connection)
        find = partial(_labelled, connection, settings, renamed=renamed)
        wanted = [
            *find(DAILY_ROWS, DAILY, days.labels()),
            *find(WEEKLY_ROWS, WEEKLY, ()),
            *_current(settings),
        ]
        make_folder(settings.export_dir)
        for dataset in _COMPUTED_AT:
            make_folder(settings.export_dir / dataset.name)
        files = [_export(connection, one) for one in wanted]
        if settings.export_parquet:
            files += _export_parquet(connection, settings, renamed=renamed)
        with replacing(description) as file:
            file.write(package(connection, _PATHS, settings.time_zone))
    logger.info("%d files written to %s", len(files), settings.export_dir)
    return files


def export_selection(
    database: Database,
    selection: Selection,
    path: Path,
    *,
    compress: bool,
    tell: Tell | None = None,
) -> Written:
    """Write a selection into one file, which is replaced as a whole.

    Raises:
        ApexError: The file system refuses.
        DatabaseError: One of its kinds.
    """
    with snapshot(database) as connection, replacing(path) as file:
        return write_csv(connection, selection, file, compress=compress, tell=tell)


def export_on_request(
    database: Database,
    settings: AnalysisSettings,
    selection: Selection,
    *,
    compress: bool,
) -> tuple[Path, Written]:
    """Write a selection into a file named after it, in the folder `on_request`.

    Raises:
        ApexError: The file system refuses.
        DatabaseError: One of its kinds.
    """
    folder = _on_request(settings)
    path = folder / (_name(selection) + (".csv.gz" if compress else ".csv"))
    return path, export_selection(database, selection, path, compress=compress)


def export_months_on_request(
    database: Database, settings: AnalysisSettings, selection: Selection
) -> list[tuple[Path, int]]:
    """Write a selection as Parquet into a folder named after it, below `on_request`.

    Returns:
        The files, and how many rows each has.

    Raises:
        ApexError: The file system refuses.
        ConfigError: pyarrow is not installed.
        DatabaseError: One of its kinds.
    """
    folder = _on_request(settings)
    return export_months(database, selection, folder / _name(selection))


def _on_request(settings: AnalysisSettings) -> Path:
    folder = settings.export_dir / "on_request"
    make_folder(settings.export_dir)
    make_folder(folder)
    return folder


def _name(selection: Selection) -> str:
    dataset = selection.dataset
    parts = [
        dataset.name + (f"_{selection.days}d" if dataset is HISTORY else ""),
        str(selection.first or "oldest"),
        str(selection.last or "newest"),
        selection.zone.replace("/", "-"),
    ]
    return "_".join(parts)


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
    settings: AnalysisSettings,
    dataset: Dataset,
    grain: Grain,
    always: Sequence[date],
    *,
    renamed: bool,
) -> list[_Wanted]:
    zone = settings.time_zone
    computed = _computed(connection, zone, dataset, grain)
    known = {label for label, *_ in computed}
    missing = [label for label in always if label not in known]
    if missing:
        raise ApexError(
            f"{grain.rollup} has not been computed for {missing[0]} to {missing[-1]} in "
            f"{zone} ({len(missing)} of the requested days). Compute it first."
        )
    folder, asked_for = settings.export_dir / dataset.name, frozenset(always)
    wanted = []
    for label, computed_at, has_rows in computed:
        path = folder / f"{label}.csv"
        modified = _modified(path)
        if not has_rows:
            # Of a header alone nothing tells the types, and readers guess differently.
            if modified is not None:
                with explained(path):
                    path.unlink(missing_ok=True)
        elif renamed or label in asked_for or modified != computed_at:
            selection = Selection(dataset, zone, label, label)
            wanted.append(_Wanted(path, selection, label, computed_at))
    return wanted


def _current(settings: AnalysisSettings) -> list[_Wanted]:
    folder, zone = settings.export_dir, settings.time_zone
    return [
        *(
            _Wanted(
                folder / f"history_{days}d.csv", Selection(HISTORY, zone, days=days)
            )
            for days in _HISTORIES
        ),
        *(
            _Wanted(folder / _PATHS[dataset], Selection(dataset, zone))
            for dataset in (FORECAST, FORECAST_TOTALS, FORECAST_CAMPAIGNS)
        ),
    ]


def _modified(path: Path) -> datetime | None:
    with explained(path):
        try:
            nanoseconds = path.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def _export(connection: psycopg.Connection[Any], wanted: _Wanted) -> ExportedFile:
    with replacing(wanted.path, modified=wanted.computed_at) as file:
        written = write_csv(connection, wanted.selection, file)
    return ExportedFile(
        wanted.selection.dataset,
        wanted.label,
        wanted.path,
        written,
        count(connection, count_statement(wanted.selection)),
        count_rows(wanted.path),
    )


def _export_parquet(
    connection: psycopg.Connection[Any], settings: AnalysisSettings, *, renamed: bool
) -> list[ExportedFile]:
    """Write the months that are out of date, by the time of their newest rollup."""
    zone, folder = settings.time_zone, settings.export_dir / "parquet"
    make_folder(folder)
    files = []
    for dataset, grain in ((DAILY_ROWS, DAILY), (WEEKLY_ROWS, WEEKLY)):
        months: dict[date, list[tuple[datetime, bool]]] = {}
        for label, computed_at, has_rows in _computed(connection, zone, dataset, grain):
            months.setdefault(label.replace(day=1), []).append((computed_at, has_rows))
        for first, labels in months.items():
            path = folder / f"{dataset.name}-{first:%Y-%m}.parquet"
            newest = max(computed_at for computed_at, _ in labels)
            if not any(has_rows for _, has_rows in labels):
                with explained(path):
                    path.unlink(missing_ok=True)
            elif renamed or _modified(path) != newest:
                selection = Selection(dataset, zone, first, month_end(first))
                written, found = write_month(connection, selection, path, newest)
                wanted = count(connection, count_statement(selection))
                files.append(ExportedFile(dataset, None, path, written, wanted, found))
    return files
