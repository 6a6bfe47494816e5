"""`apex record`: record metrics of one campaign run, or of many from a file."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from apex_pipeline.audit.authors import process_author
from apex_pipeline.cli.output import progress
from apex_pipeline.cli.terminal import say
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.recording import load_file, open_database
from apex_pipeline.recording.campaign_names import keep_names, read_names
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.fields import (
    CREATED_AT,
    ID,
    OPTIONS,
    SUCCESS_RATE,
    spelling_of,
)
from apex_pipeline.recording.loading import Loaded
from apex_pipeline.recording.parsing import decode_json, parse_cells, parse_json
from apex_pipeline.recording.record_files import Format, format_of
from apex_pipeline.recording.record_writing import Recorded, record as record_one

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DASH = "-"
_DEFAULTS = {SUCCESS_RATE: "  [default: computed]", CREATED_AT: "  [default: now]"}


def _field_options(command: _Command) -> _Command:
    """Add one text option per field; parsing them later reports all problems at once."""
    for column in reversed(COLUMNS):
        name = OPTIONS.names[column.postgres]
        text = f"{column.description}.{_DEFAULTS.get(column.postgres, '')}"
        command = click.option(name, metavar="VALUE", help=text)(command)
    return command


@click.group(invoke_without_command=True)
@_field_options
@click.option("--id", metavar="TEXT", help="Id of the row: a UUID or any other text.")
@click.option("--idempotency-key", metavar="TEXT", help="Text unique to this record.")
@click.option(
    "--json",
    "document",
    metavar="TEXT",
    help="The record as the JSON object that agents send; - reads standard input.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="JSON Lines, or CSV with a header; may be gzipped; - reads standard input.",
)
@click.option(
    "--format",
    "written",
    type=click.Choice([f.value for f in Format]),
    help="Format of --file, if its name does not show it.",
)
@click.option(
    "--dialect",
    type=click.Choice([d.value for d in Dialect]),
    help="CSV dialect: excel-eu has semicolons or tabs between cells, and decimal commas.",
)
@click.option("--skip-bad", is_flag=True, help="Skip invalid lines of --file.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False),
    help="Where --skip-bad lists the skipped lines.  [default: FILE.rejects.jsonl]",
)
@click.option("--dry-run", is_flag=True, help="Check everything; write nothing.")
@click.pass_context
def record(
    context: click.Context,
    /,
    *,
    document: str | None,
    path: str | None,
    written: str | None,
    dialect: str | None,
    skip_bad: bool,
    rejects: str | None,
    dry_run: bool,
    idempotency_key: str | None,
    **fields: str | None,
) -> None:
    """Insert metrics of campaign runs into campaign_metrics; the sync delivers them.

    Pass one record as options or as --json, or many with --file: either all lines are
    written or none. Fields may be named as the agents send them (campaignId) or as the
    columns (campaign_id). Needs only DATABASE_URL.

    Repeating a command is safe. A record is recognised by its id or idempotency key, a
    line of a file without an id by its content, and is not written twice.
    """
    if context.invoked_subcommand is not None:
        return
    given = {name: value for name, value in fields.items() if value is not None}
    if [bool(given), document is not None, path is not None].count(True) != 1:
        raise click.UsageError(
            "Pass the fields as options, or as --json, or pass --file."
        )
    if path is None:
        if skip_bad or rejects or written or dialect:
            raise click.UsageError(
                "--format, --dialect, --skip-bad and --rejects need --file."
            )
        outcome = _record_one(given, document, idempotency_key, dry_run=dry_run)
        say(_sentence(outcome, dry_run=dry_run))
        return
    if idempotency_key is not None or (rejects and not skip_bad):
        raise click.UsageError(
            "--idempotency-key cannot be used with --file; --rejects needs --skip-bad."
        )
    report = _report_path(path, rejects) if skip_bad else None
    found = _format(path, written)
    if dialect and found is not Format.CSV:
        raise click.UsageError("--dialect applies only to CSV.")
    loaded = _load(
        path, found, Dialect(dialect or Dialect.EXCEL), report, dry_run=dry_run
    )
    say(_counts(loaded, report, dry_run=dry_run))


@record.command("campaigns")
@click.argument("file", type=click.File(encoding="utf-8-sig"))
def campaigns(file: TextIO) -> None:
    """Give names to campaigns, for the views, the panel and the files.

    FILE is CSV with the columns campaign_id and name; - reads standard input. A name
    takes the place of the one that the campaign had; all of them are written or none.
    """
    names = read_names(file)
    with open_database() as database:
        changed = keep_names(database, names, process_author(os.environ))
    say(f"{len(names):,} campaigns read; {changed:,} names are new or changed.")


def _record_one(
    given: Mapping[str, str], document: str | None, key: str | None, *, dry_run: bool
) -> Recorded:
    if document is None:
        spelling = OPTIONS
        cells = {OPTIONS.names[column]: text for column, text in given.items()}
        values = parse_cells(cells, spelling)
        if given.get(ID) == "":
            # An empty cell in a file means no id; an empty --id is a mistake to report.
            values[spelling.names[ID]] = ""
    else:
        text = decode_json(sys.stdin.buffer.read()) if document == _DASH else document
        values = parse_json(text)
        spelling = spelling_of(values.keys())
    with open_database() as database:
        author = process_author(os.environ)
        return record_one(
            database, values, spelling, key=key, dry_run=dry_run, author=author
        )


def _sentence(outcome: Recorded, *, dry_run: bool) -> str:
    if not outcome.created:
        return f"{outcome.id} was already recorded; nothing was written."
    return f"{outcome.id} {'would be recorded' if dry_run else 'recorded'}."


def _format(path: str, written: str | None) -> Format:
    found = Format(written) if written else format_of(path)
    if found is None:
        raise click.UsageError(
            f"Cannot tell the format from the name {path}; pass --format."
        )
    return found


def _report_path(path: str, rejects: str | None) -> Path:
    if rejects:
        return Path(rejects)
    return Path("rejects.jsonl" if path == _DASH else f"{path}.rejects.jsonl")


def _load(
    path: str, written: Format, dialect: Dialect, report: Path | None, *, dry_run: bool
) -> Loaded:
    try:
        with (
            click.open_file(path, "rb") as raw,
            progress("Recording", _size(path)) as tell,
        ):
            return load_file(
                raw,
                path,
                written,
                dialect=dialect,
                report=report,
                tell=tell,
                dry_run=dry_run,
            )
    except OSError as error:
        raise click.ClickException(f"{error}; nothing was written.") from error


def _size(path: str) -> int | None:
    file = Path(path)
    return file.stat().st_size if path != _DASH and file.is_file() else None


def _counts(loaded: Loaded, report: Path | None, *, dry_run: bool) -> str:
    written = "would be recorded" if dry_run else "recorded"
    text = f"{loaded.created} {written}, {loaded.repeated} already recorded"
    if report is None:
        return f"{text}."
    return f"{text}, {loaded.rejected} rejected (see {report})."
