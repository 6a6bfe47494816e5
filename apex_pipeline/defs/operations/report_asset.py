"""The completion report in Dagster: the asset and its job."""

import os
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from apex_pipeline.defs.code_location import DefinitionsParam, asset_key
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.operations.instance_state import look_at_instance
from apex_pipeline.defs.operations.report_reading import read_orchestration
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.sync_specs import CAMPAIGN_METRICS, OPERATIONS
from apex_pipeline.flags_and_launchpad_forms.command_list import SUMMARIES
from apex_pipeline.flags_and_launchpad_forms.inspection_forms import ReportForm
from apex_pipeline.recording.record_folder import file_within
from apex_pipeline.settings import state_dir

if TYPE_CHECKING:
    from apex_pipeline.report.document import Report
    from apex_pipeline.report.report_files import WrittenReport

_MOST_MARKDOWN = 60_000
"""Maximum characters of each report stored in the event log."""


_ELSEWHERE = "For one elsewhere, run `apex report`."


@dg.asset(
    key=asset_key("completion_report"),
    config_schema=form_schema(ReportForm),
    # The report reads every asset; depending on all would mark it stale at every sync.
    deps=[CAMPAIGN_METRICS.key],
    group_name=OPERATIONS,
    kinds={"html", "file"},
    owners=["team:apex-data"],
    description="A report on the whole pipeline, measured when the run starts: acceptance, "
    "benchmarks, deliverables, infrastructure, sync, tests, security, known issues. A "
    "measurement that fails is listed with the reason and does not fail the run.",
)
def completion_report(
    context: dg.AssetExecutionContext, definitions: DefinitionsParam
) -> dg.MaterializeResult:
    """Measure the live system and write the report."""
    with failures():
        report, written = _write(
            context, ReportForm(**context.op_execution_context.op_config), definitions()
        )
    return dg.MaterializeResult(metadata=_metadata(report, written))


def _write(
    context: dg.AssetExecutionContext, form: ReportForm, definitions: dg.Definitions
) -> "tuple[Report, WrittenReport]":
    # Runs of the sync load this module too, and need nothing of what a report needs.
    from apex_pipeline.report.composing import ReportOptions, compose  # noqa: PLC0415
    from apex_pipeline.report.report_files import (  # noqa: PLC0415
        FOLDER as REPORTS,
        default_name,
        default_store,
        write,
    )
    from apex_pipeline.report.report_subject import Readers  # noqa: PLC0415

    readers = Readers(
        look_at_instance,
        partial(read_orchestration, definitions),
        SUMMARIES,
        tell=context.log.info,
    )
    # Who may start a job is not always who may write the machine's files.
    folder = state_dir(os.environ)
    results = (
        file_within(folder, form.junit_xml, _ELSEWHERE) if form.junit_xml else None
    )
    # In an object store, too, the name leads nowhere else.
    reports = folder / REPORTS
    named = file_within(reports, form.output, _ELSEWHERE) if form.output else None
    store = default_store(os.environ)
    report = compose(os.environ, readers, ReportOptions(results, form.screenshots))
    name = (
        named.relative_to(reports.resolve()).as_posix()
        if named
        else default_name(report, html=form.html)
    )
    return report, write(report, store, name, html=form.html)


def _metadata(
    report: "Report", written: "WrittenReport"
) -> dict[str, dg.MetadataValue | int]:
    from apex_pipeline.report.document import LineState  # noqa: PLC0415  as above
    from apex_pipeline.report.markdown import to_short_markdown  # noqa: PLC0415

    return {
        "path": dg.MetadataValue.path(written.place),
        **{each.name.lower(): report.count(each) for each in LineState},
        "report": dg.MetadataValue.md(to_short_markdown(report, _MOST_MARKDOWN)),
    }


write_completion_report = dg.define_asset_job(
    "write_completion_report",
    selection=dg.AssetSelection.assets(completion_report),
    description="Measures the live system and writes the completion report, like `apex "
    "report`. Run it for an acceptance, an audit or a handover.",
    executor_def=dg.in_process_executor,
    tags=OPERATOR_TAGS | {"dagster/max_runtime": "600"},
)
