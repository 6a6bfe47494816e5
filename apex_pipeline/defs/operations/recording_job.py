"""The job that does in the Dagster UI what `apex record` does in a terminal."""

import os
import re
from pathlib import Path
from typing import Any

import dagster as dg

from apex_pipeline.audit.events import Author
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.services import author_of
from apex_pipeline.errors import (
    ApexError,
    ConfigError,
    InvalidRecordError,
    RecordConflictError,
)
from apex_pipeline.flags_and_launchpad_forms.record_form import RecordForm
from apex_pipeline.recording import load_file, open_database
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.fields import spelling_of
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.record_files import Format, format_of
from apex_pipeline.recording.record_folder import file_within, new_file_within
from apex_pipeline.recording.record_writing import record as record_one
from apex_pipeline.settings import record_dir

_LINE = re.compile(r"^line \d+", re.MULTILINE)


@dg.op(config_schema=form_schema(RecordForm))
def write_records(context: dg.OpExecutionContext) -> None:
    """Write one record, or either all lines of a file or none."""
    form = RecordForm(**context.op_config)
    if bool(form.record) == bool(form.file):
        raise dg.Failure("Set either record or file.", allow_retries=False)
    try:
        written = (_record if form.record else _load)(form, author_of(context.run))
    except OSError as error:
        # The path is the caller's text, and notices quote a failure.
        raise dg.Failure(
            f"The file cannot be read: {error.strerror}.", allow_retries=False
        ) from None
    except ApexError as error:
        raise _refused(error, of_file=bool(form.file)) from None
    context.add_output_metadata(written | {"dry_run": form.dry_run})


def _refused(error: ApexError, *, of_file: bool) -> dg.Failure:
    """The failure; of a file's content it names line numbers alone.

    Who may start a job is not always who may read the machine's files.
    """
    text = str(error)
    is_content = isinstance(error, InvalidRecordError | RecordConflictError)
    if of_file and is_content:
        lines = ", ".join(_LINE.findall(text)) or "the file as a whole"
        text = (
            f"The file is not one of records ({lines}); nothing was written. Its content "
            "is not shown here: set skip_bad to list what is wrong beside the file, or "
            "run `apex record --file` on that machine. For CSV with semicolons, set "
            "dialect to excel-eu."
        )
    cause = {"cause": type(error).__name__} if is_content else {}
    return dg.Failure(text, metadata=cause, allow_retries=False)


def _record(form: RecordForm, author: Author) -> dict[str, Any]:
    values = parse_json(form.record)
    with open_database() as database:
        outcome = record_one(
            database,
            values,
            spelling_of(values.keys()),
            key=form.idempotency_key or None,
            dry_run=form.dry_run,
            author=author,
        )
    return {"id": str(outcome.id), "created": outcome.created}


def _load(form: RecordForm, author: Author) -> dict[str, Any]:
    written = _format(form)
    folder = record_dir(os.environ)
    path = file_within(folder, form.file)
    report = Path(form.rejects or f"{path}.rejects.jsonl")
    if form.skip_bad:
        report = new_file_within(folder, str(report))
    with path.open("rb") as raw:
        loaded = load_file(
            raw,
            form.file,
            written,
            dialect=_dialect(form),
            report=report if form.skip_bad else None,
            replaces=False,
            dry_run=form.dry_run,
            author=author,
        )
    counts: dict[str, Any] = {
        "created": loaded.created,
        "recorded_before": loaded.repeated,
    }
    if form.skip_bad:
        counts |= {
            "rejected": loaded.rejected,
            "rejects": dg.MetadataValue.path(report),
        }
    return counts


def _dialect(form: RecordForm) -> Dialect:
    try:
        return Dialect(form.dialect)
    except ValueError:
        known = " or ".join(Dialect)
        raise ConfigError(f"Unknown dialect; choose {known}.") from None


def _format(form: RecordForm) -> Format:
    try:
        found = Format(form.format) if form.format else format_of(form.file)
    except ValueError:
        found = None
    if found is None:
        known = " or ".join(each.value for each in Format)
        raise ConfigError(
            f"Cannot tell the format from the file's name; set format to {known}."
        )
    return found


@dg.job(
    executor_def=dg.in_process_executor,
    description="Inserts metrics of campaign runs into campaign_metrics, like `apex "
    "record`. Run it for campaign runs that did not record themselves, or to load a file.",
    tags=OPERATOR_TAGS,
)
def record_campaign_metrics() -> None:
    write_records()
