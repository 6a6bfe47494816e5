"""`apex export`: write rows as CSV to a file or a pipe."""

import os
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import click

from apex_pipeline.analytics.csv.csv_datasets import ExportSelection
from apex_pipeline.analytics.csv.csv_files import (
    Tell,
    Written,
    snapshot,
    write_csv,
)
from apex_pipeline.analytics.csv.export_audit import exporting
from apex_pipeline.analytics.csv.export_stores import LocalStore
from apex_pipeline.analytics.csv.local_files import explained
from apex_pipeline.analytics.csv.on_request import export_selection
from apex_pipeline.analytics.csv.parquet_files import export_months
from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.intents import Ending
from apex_pipeline.cli.command_line import takes
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.terminal import TerminalBytes, say
from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.export_form import ExportForm
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_analysis_settings, load_database_url

_PIPE_STATUS = 128 + signal.SIGPIPE


@click.command()
@takes(ExportForm)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="-",
    help="File to write; - is standard output.  [default: -]",
)
def export(*, form: ExportForm, output: str) -> None:
    """Export rows as CSV: UTF-8, ISO dates, safe to open in a spreadsheet.

    DATASET is daily or weekly (rollups, by day or by the Monday of the week), history
    (the last days with their averages), forecast (the days to come), forecast-totals or
    forecast-campaigns (their sums, in total or by campaign), or raw (the campaign runs, by
    the day on which they were recorded). Without --from and --to, everything is exported.

    FILE is replaced only once the export is complete. Exit 0: written; 1: failed; 2:
    wrong arguments or configuration; 141: the reader closed the pipe.
    """
    selection = form.selection(load_analysis_settings(os.environ))
    if form.is_parquet:
        _to_months(selection, output)
        return
    # On SIGTERM clean up, as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    compress = form.compress or output.endswith(".gz")
    with Database(
        load_database_url(os.environ), application_name="apex_export"
    ) as database:
        try:
            with _audited(database, selection, output) as ending:
                if output == "-":
                    written = _to_pipe(database, selection, compress=compress)
                else:
                    path = Path(output)
                    written = _to_file(database, selection, path, compress=compress)
                ending.counts["rows"] = written.rows
            if output != "-":
                say(f"{output}: {_words(written.rows, written.size)}")
        except BrokenPipeError:
            sys.exit(_PIPE_STATUS)


def _to_months(selection: ExportSelection, output: str) -> None:
    if output == "-":
        raise click.UsageError(
            "Parquet needs a folder, with one file a month: -o FOLDER."
        )
    with (
        Database(
            load_database_url(os.environ), application_name="apex_export"
        ) as database,
        waiting("Exporting …"),
        _audited(database, selection, output) as ending,
    ):
        months = export_months(database, selection, LocalStore(Path(output)))
        ending.counts["rows"] = sum(month.rows for month in months)
    for month in months:
        say(f"{month.place}: {_words(month.rows, month.size)}")


def _audited(
    database: Database, selection: ExportSelection, output: str
) -> AbstractContextManager[Ending]:
    target = "standard output" if output == "-" else Path(output).name
    return exporting(database, process_author(os.environ), selection, target)


def _to_pipe(
    database: Database, selection: ExportSelection, *, compress: bool
) -> Written:
    if sys.stdout is None:
        raise click.UsageError("Standard output is closed; pass --output FILE.")
    if compress and sys.stdout.isatty():
        raise click.UsageError(
            "Refusing to write compressed data to a terminal; pass --output FILE."
        )
    # Python flushes sys.stdout again at exit, which fails loudly on a closed pipe.
    with (
        snapshot(database) as connection,
        explained("Standard output"),
        open(sys.stdout.fileno(), "wb", closefd=False) as pipe,
    ):
        sink = TerminalBytes(pipe) if sys.stdout.isatty() else pipe
        return write_csv(connection, selection, sink, compress=compress)


def _to_file(
    database: Database, selection: ExportSelection, path: Path, *, compress: bool
) -> Written:
    with waiting("Exporting …") as update:
        tell = _teller(update)
        _refuse_links_of_others(path)
        if _is_replaceable(path):
            # Replace the file that a link points to, not the link.
            whole = path.resolve()
            return export_selection(
                database, selection, whole, compress=compress, tell=tell
            )
        # Write into a device or named pipe; replacing it would leave a plain file.
        with snapshot(database) as connection, explained(path), path.open("wb") as file:
            return write_csv(connection, selection, file, compress=compress, tell=tell)


def _refuse_links_of_others(path: Path) -> None:
    """In a folder that users share, another's link would choose what is replaced."""
    if path.is_symlink() and path.lstat().st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"{path} is a link that another user made. Remove it, or name another file."
        )


def _is_replaceable(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _teller(update: Callable[[str], None]) -> Tell:
    return lambda rows, size: update(f"Exporting … {_words(rows, size)}")


def _words(rows: int, size: int) -> str:
    return f"{rows:,} rows, {size:,} bytes"
