"""The options of `apex record` and of the job `record_campaign_metrics`."""

from dataclasses import dataclass

from apex_pipeline.flags_and_launchpad_forms.declaring import Form, option, switch, text
from apex_pipeline.recording.csv_rows import Dialect
from apex_pipeline.recording.record_files import Format


@dataclass(frozen=True)
class RecordForm(Form):
    """One record or a file of records; an empty text means not set."""

    record: str = text(
        "The record as the JSON object that agents send; - reads standard input",
        flag="--json",
        in_form="One campaign run as the JSON object that agents send: "
        '{"campaignId": "…", "runId": "…", "phase": "2-3", …}',
    )
    idempotency_key: str = text(
        "Text unique to this record; repeating it writes nothing"
    )
    file: str = text(
        "JSON Lines, or CSV with a header; may be gzipped; - reads standard input",
        kind="existing file",
        in_form="Instead of record: path of a file on the machine that executes runs; "
        "JSON Lines, or CSV with a header; may be gzipped",
    )
    format: str = text(
        "jsonl or csv, if the file's name does not show it",
        choices=tuple(each.value for each in Format),
    )
    dialect: str = option(
        "CSV dialect: excel, or excel-eu for semicolons or tabs between cells and "
        "decimal commas",
        default=Dialect.EXCEL.value,
        choices=tuple(each.value for each in Dialect),
    )
    skip_bad: bool = switch("Skip invalid lines of the file")
    rejects: str = text(
        "Where the skipped lines are listed", unset="FILE.rejects.jsonl", kind="file"
    )
    dry_run: bool = switch("Check everything; write nothing")
