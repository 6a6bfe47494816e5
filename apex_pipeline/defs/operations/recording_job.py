"""The job that does in the Dagster UI what `apex record` does in a terminal."""

import os
import re
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.errors import (
    ApexError,
    ConfigError,
    InvalidRecordError,
    RecordConflictError,
)
from apex_pipeline.recording import load_file, open_database
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.fields import spelling_of
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.record_files import Format, format_of
from apex_pipeline.recording.record_folder import file_within, new_file_within
from apex_pipeline.recording.record_writing import record as record_one
from apex_pipeline.settings import record_dir

_LINE = re.compile(r"^line \d+", re.MULTILINE)


class RecordConfig(dg.Config):
    """One record or a file of records; an empty text means not set."""

    record: str = Field(
        default="",
        description="One campaign run as the JSON object that agents send: "
        '{"campaignId": "…", "runId": "…", "phase": "2-3", …}.',
    )
    idempotency_key: str = Field(
        default="",
        description="With record: text unique to it. Repeating it writes nothing.",
    )
    file: str = Field(
        default="",
        description="Instead of record: path of a file on the machine that executes runs; "
        "JSON Lines, or CSV with a header; may be gzipped.",
    )
    format: str = Field(
        default="",
        description="jsonl or csv, if the file's name does not show it.",
    )
    dialect: str = Field(
        default=Dialect.EXCEL.value,
        description="CSV dialect: excel, or excel-eu for semicolons or tabs between cells "
        "and decimal commas.",
    )
    skip_bad: bool = Field(default=False, description="Skip invalid lines of the file.")
    rejects: str = Field(
        default="",
        description="Where skip_bad lists the skipped lines; empty for "
        "FILE.rejects.jsonl.",
    )
    dry_run: bool = Field(
        default=False, description="Validate everything; write nothing."
    )


@dg.op
def write_records(context: dg.OpExecutionContext, config: RecordConfig) -> None:
    """Write one record, or either all lines of a file or none."""
    if bool(config.record) == bool(config.file):
        raise dg.Failure("Set either record or file.", allow_retries=False)
    try:
        written = _record(config) if config.record else _load(config)
    except OSError as error:
        # The path is the caller's text, and notices quote a failure.
        raise dg.Failure(
            f"The file cannot be read: {error.strerror}.", allow_retries=False
        ) from None
    except ApexError as error:
        raise _refused(error, of_file=bool(config.file)) from None
    context.add_output_metadata(written | {"dry_run": config.dry_run})


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


def _record(config: RecordConfig) -> dict[str, Any]:
    values = parse_json(config.record)
    with open_database() as database:
        outcome = record_one(
            database,
            values,
            spelling_of(values.keys()),
            key=config.idempotency_key or None,
            dry_run=config.dry_run,
        )
    return {"id": str(outcome.id), "created": outcome.created}


def _load(config: RecordConfig) -> dict[str, Any]:
    written = _format(config)
    folder = record_dir(os.environ)
    path = file_within(folder, config.file)
    report = Path(config.rejects or f"{path}.rejects.jsonl")
    if config.skip_bad:
        report = new_file_within(folder, str(report))
    with path.open("rb") as raw:
        loaded = load_file(
            raw,
            config.file,
            written,
            dialect=_dialect(config),
            report=report if config.skip_bad else None,
            replaces=False,
            dry_run=config.dry_run,
        )
    counts: dict[str, Any] = {
        "created": loaded.created,
        "recorded_before": loaded.repeated,
    }
    if config.skip_bad:
        counts |= {
            "rejected": loaded.rejected,
            "rejects": dg.MetadataValue.path(report),
        }
    return counts


def _dialect(config: RecordConfig) -> Dialect:
    try:
        return Dialect(config.dialect)
    except ValueError:
        known = " or ".join(Dialect)
        raise ConfigError(f"Unknown dialect; choose {known}.") from None


def _format(config: RecordConfig) -> Format:
    try:
        found = Format(config.format) if config.format else format_of(config.file)
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
    """Insert metrics of campaign runs into campaign_metrics."""
    write_records()
