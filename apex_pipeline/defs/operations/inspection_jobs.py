"""Jobs that do in the Dagster UI what `apex status` and `apex doctor` do in a terminal."""

import os
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.operations.instance_state import read_instance
from apex_pipeline.defs.quarantine.quarantine_asset import table
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.flags_and_launchpad_forms.inspection_forms import DoctorForm
from apex_pipeline.monitoring.doctor.check_results import CheckState
from apex_pipeline.monitoring.rules.health_summary import reasons
from apex_pipeline.monitoring.status_overview import overview


@dg.op
def tell_status(context: dg.OpExecutionContext) -> None:
    """Report whether the sync keeps up, and if not, why."""
    with failures():
        found = overview(os.environ)
        wrong = reasons(os.environ, datetime.now(UTC))
    context.add_output_metadata(
        {
            "is_well": not wrong,
            "why_not": dg.MetadataValue.text("\n".join(wrong) or "-"),
            **{name: _shown(value) for name, value in found.items()},
        }
    )
    for line in wrong:
        context.log.warning(line)


def _shown(value: object) -> Any:
    match value:
        case None:
            return "-"
        case bool() | int() | float() | str():
            return value
        case list():
            return "; ".join(map(str, value)) or "none"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return str(value)


@dg.op(config_schema=form_schema(DoctorForm))
def examine_everything(context: dg.OpExecutionContext) -> None:
    """Run all checks; problems are listed in the table and the log.

    The run succeeds even if checks fail: you asked for the answer and need no alert.
    """
    # Imported here, because runs of the sync load this module too.
    from apex_pipeline.monitoring.doctor.checklist import look  # noqa: PLC0415
    from apex_pipeline.monitoring.doctor.runner import patience  # noqa: PLC0415
    from apex_pipeline.monitoring.doctor.surroundings import Surroundings  # noqa: PLC0415

    form = DoctorForm(**context.op_config)
    around = Surroundings(
        lambda _: read_instance(context.instance),
        seconds=patience(send_test=form.send_test),
        send_test=form.send_test,
    )
    with failures():
        lines = look(os.environ, around)
    shown = [
        {
            "state": line.state.value,
            "line": line.name,
            "measured": line.measured,
            "target": line.target,
            "remedy": "" if line.state is CheckState.OK else line.remedy,
        }
        for line in lines
    ]
    failed = [line for line in lines if line.state is CheckState.FAILED]
    context.add_output_metadata({"failed": len(failed), "lines": table(shown)})
    for line in failed:
        context.log.warning("%s: %s %s", line.name, line.measured, line.remedy)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Shows whether the sync keeps up, and if not, why, like `apex status`. Run "
    "it first when a row is missing in Dataverse.",
    tags=OPERATOR_TAGS,
)
def show_status() -> None:
    tell_status()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Checks everything the sync needs against the live systems and says how to "
    "fix problems, like `apex doctor`. Run it after changing the configuration or a role, "
    "and when a run fails. Succeeds whatever it finds.",
    tags=OPERATOR_TAGS,
)
def run_doctor() -> None:
    examine_everything()
