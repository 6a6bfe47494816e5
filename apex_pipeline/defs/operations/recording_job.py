"""What `apex record` does, for those who live in the UI."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.recording import load_file, open_database
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.fields import spelling_of
from apex_pipeline.recording.parsing import parse_json
from apex_pipeline.recording.record_files import Format, format_of
from apex_pipeline.recording.record_folder import file_within, new_file_within
from apex_pipeline.recording.record_writing import record as record_one
from apex_pipeline.settings import record_dir


class RecordConfig(dg.Config):
    """One record, or a file of them; what is not said is an empty text."""

    record: str = Field(
        default="",
        description="One campaign run as a JSON object, such as the agents send it: "
        '{"campaignId": "…", "runId": "…", "phase": "2-3", …}.',
    )
    idempotency_key: str = Field(
        default="",
        description="With record: text that stands for it alone. The same again writes "
        "nothing.",
    )
    file: str = Field(
        default="",
        description="In place of a record: path of a file below APEX_RECORD_DIR, on the "
        "machine that executes runs: JSON Lines or CSV with a header, also as .gz.",
    )
    format: str = Field(
        default="",
        description="jsonl or csv, where the file's name does not tell.",
    )
    dialect: str = Field(
        default=Dialect.EXCEL.value,
        description="Of CSV: excel, or excel-eu for semicolons or tabs between cells and "
        "decimal commas.",
    )
    skip_bad: bool = Field(
        default=False, description="Leave out the lines of the file that are bad."
    )
    rejects: str = Field(
        default="",
        description="Where skip_bad tells what it left out, below APEX_RECORD_DIR; "
        "replaces no file. Empty for FILE.rejects.jsonl.",
    )
    dry_run: bool = Field(default=False, description="Check everything; write nothing.")


@dg.op
def write_records(context: dg.OpExecutionContext, config: RecordConfig) -> None:
    """Write one record, or all of a file or none."""
    if bool(config.record) == bool(config.file):
        raise dg.Failure("Give a record or a file.", allow_retries=False)
    try:
        written = _record(config) if config.record else _load(config)
    except (ApexError, OSError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.add_output_metadata(written | {"dry_run": config.dry_run})


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
            dry_run=config.dry_run,
        )
    told: dict[str, Any] = {
        "created": loaded.created,
        "recorded_before": loaded.repeated,
    }
    if config.skip_bad:
        told |= {"rejected": loaded.rejected, "rejects": dg.MetadataValue.path(report)}
    return told


def _dialect(config: RecordConfig) -> Dialect:
    try:
        return Dialect(config.dialect)
    except ValueError:
        known = " or ".join(Dialect)
        raise ConfigError(f"There is no such dialect: say {known}.") from None


def _format(config: RecordConfig) -> Format:
    try:
        found = Format(config.format) if config.format else format_of(config.file)
    except ValueError:
        found = None
    if found is None:
        known = " or ".join(each.value for each in Format)
        raise ConfigError(
            f"The name of the file does not tell its format: say {known}."
        )
    return found


@dg.job(
    executor_def=dg.in_process_executor,
    description="Writes metrics of campaign runs into campaign_metrics, as `apex record`. "
    "For runs that did not record themselves, or to load a file of them.",
    tags=OPERATOR_TAGS,
)
def record_campaign_metrics() -> None:
    """Write metrics of campaign runs into campaign_metrics."""
    write_records()
