"""Exports that somebody asks for: any range, zone and dataset."""

from pathlib import Path

from apex_pipeline.analytics.csv.csv_datasets import HISTORY, ExportSelection
from apex_pipeline.analytics.csv.csv_files import Tell, Written, snapshot, write_csv
from apex_pipeline.analytics.csv.export_stores import export_store
from apex_pipeline.analytics.csv.local_files import replacing
from apex_pipeline.analytics.csv.parquet_files import Month, export_months
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings

_FOLDER = "on_request/"


def export_selection(
    database: Database,
    selection: ExportSelection,
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
    selection: ExportSelection,
    *,
    compress: bool,
) -> tuple[str, Written]:
    """Write a selection into a file named after it, in the folder `on_request`.

    Returns:
        Path or URL of the file, and what was written.

    Raises:
        ApexError: The store refuses.
        ConfigError: The adapter for the store is not installed.
        DatabaseError: One of its kinds.
    """
    store = export_store(settings)
    name = f"{_FOLDER}{_name(selection)}.csv{'.gz' if compress else ''}"
    with snapshot(database) as connection, store.replacing(name) as file:
        written = write_csv(connection, selection, file, compress=compress)
    return store.place(name), written


def export_months_on_request(
    database: Database, settings: AnalysisSettings, selection: ExportSelection
) -> list[Month]:
    """Write a selection as Parquet into a folder named after it, below `on_request`.

    Raises:
        ApexError: The store refuses.
        ConfigError: pyarrow, or the adapter for the store, is not installed.
        DatabaseError: One of its kinds.
    """
    folder = f"{_FOLDER}{_name(selection)}/"
    return export_months(database, selection, export_store(settings), folder)


def _name(selection: ExportSelection) -> str:
    dataset = selection.dataset
    parts = [
        dataset.name + (f"_{selection.days}d" if dataset is HISTORY else ""),
        str(selection.first or "oldest"),
        str(selection.last or "newest"),
        selection.zone.replace("/", "-"),
    ]
    return "_".join(parts)
