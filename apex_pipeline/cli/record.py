"""`apex record`: record metrics of one campaign run, or of many from a file."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

from apex_pipeline.audit.authors import process_author
from apex_pipeline.cli.command_line import takes
from apex_pipeline.cli.output import progress
from apex_pipeline.cli.terminal import say
from apex_pipeline.flags_and_launchpad_forms.record_form import RecordForm
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
from apex_pipeline.recording.record_files import (
    Format,
    format_of,
    is_gzip,
    opened,
    texts,
)
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
@takes(RecordForm)
@click.pass_context
def record(
    context: click.Context,
    /,
    *,
    form: RecordForm,
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
    if [bool(given), bool(form.record), bool(form.file)].count(True) != 1:
        raise click.UsageError(
            "Pass the fields as options, or as --json, or pass --file."
        )
    dialect = Dialect(form.dialect)
    if not form.file:
        if form.skip_bad or form.rejects or form.format or dialect is not Dialect.EXCEL:
            raise click.UsageError(
                "--format, --dialect, --skip-bad and --rejects need --file."
            )
        outcome = _record_one(given, form)
        say(_sentence(outcome, dry_run=form.dry_run))
        return
    if form.idempotency_key or (form.rejects and not form.skip_bad):
        raise click.UsageError(
            "--idempotency-key cannot be used with --file; --rejects needs --skip-bad."
        )
    report = _report_path(form) if form.skip_bad else None
    found = _format(form)
    if dialect is not Dialect.EXCEL and found is not Format.CSV:
        raise click.UsageError("--dialect applies only to CSV.")
    loaded = _load(form, found, dialect, report)
    say(_counts(loaded, report, dry_run=form.dry_run))


@record.command("campaigns")
@click.argument("file", type=click.File("rb"))
def campaigns(file: BinaryIO) -> None:
    """Give names to campaigns, for the views, the panel and the files.

    FILE is CSV with the columns campaign_id and name, also gzipped; - reads standard input. A
    name replaces the campaign's previous one; either all are written or none.
    """
    compressed = is_gzip(str(file.name))
    with opened(file, compressed=compressed) as stream:
        names = read_names(texts(stream))
    with open_database() as database:
        changed = keep_names(database, names, process_author(os.environ))
    say(f"{len(names):,} campaigns read; {changed:,} names are new or changed.")


def _record_one(given: Mapping[str, str], form: RecordForm) -> Recorded:
    if not form.record:
        spelling = OPTIONS
        cells = {OPTIONS.names[column]: text for column, text in given.items()}
        values = parse_cells(cells, spelling)
        if given.get(ID) == "":
            # An empty cell in a file means no id; an empty --id is a mistake to report.
            values[spelling.names[ID]] = ""
    else:
        values = parse_json(
            decode_json(sys.stdin.buffer.read())
            if form.record == _DASH
            else form.record
        )
        spelling = spelling_of(values.keys())
    with open_database() as database:
        return record_one(
            database,
            values,
            spelling,
            key=form.idempotency_key or None,
            dry_run=form.dry_run,
            author=process_author(os.environ),
        )


def _sentence(outcome: Recorded, *, dry_run: bool) -> str:
    if not outcome.created:
        return f"{outcome.id} was already recorded; nothing was written."
    return f"{outcome.id} {'would be recorded' if dry_run else 'recorded'}."


def _format(form: RecordForm) -> Format:
    found = Format(form.format) if form.format else format_of(form.file)
    if found is None:
        raise click.UsageError(
            f"Cannot tell the format from the name {form.file}; pass --format."
        )
    return found


def _report_path(form: RecordForm) -> Path:
    if form.rejects:
        return Path(form.rejects)
    name = "rejects.jsonl" if form.file == _DASH else f"{form.file}.rejects.jsonl"
    return Path(name)


def _load(
    form: RecordForm, written: Format, dialect: Dialect, report: Path | None
) -> Loaded:
    try:
        with (
            click.open_file(form.file, "rb") as raw,
            progress("Recording", _size(form.file)) as tell,
        ):
            return load_file(
                raw,
                form.file,
                written,
                dialect=dialect,
                report=report,
                tell=tell,
                dry_run=form.dry_run,
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
