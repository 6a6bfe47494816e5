"""The job that does in the Dagster UI what `apex audit list` and `show` do in a terminal."""

import json

import dagster as dg

from apex_pipeline.audit import trail
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import table
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services
from apex_pipeline.flags_and_launchpad_forms.audit_forms import AuditListForm


@dg.op(config_schema=form_schema(AuditListForm))
def list_events(context: dg.OpExecutionContext, services: Services) -> None:
    """List events, newest first, each with all that it holds."""
    with failures():
        found = _events(AuditListForm(**context.op_config), services)
    lines: list[dict[str, str | int]] = [
        {name: _cell(value) for name, value in event.items()} for event in found
    ]
    context.add_output_metadata(
        {"events": table(lines)} if lines else {"events_found": 0}
    )


def _events(form: AuditListForm, services: Services) -> list[dict[str, Json]]:
    with services.open_database() as database:
        if form.sequence:
            return [database.ask(trail.one, form.sequence)]
        return database.ask(trail.newest, limit=form.limit, **form.filters())


def _cell(value: Json) -> str | int:
    match value:
        case None:
            return ""
        case int() | str():
            return value
        case _:
            return json.dumps(value, sort_keys=True, allow_nan=False)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Lists events of the audit trail, like `apex audit list` and `show`. Run "
    "it to see who did what.",
    tags=OPERATOR_TAGS,
)
def list_audit_trail() -> None:
    list_events()
