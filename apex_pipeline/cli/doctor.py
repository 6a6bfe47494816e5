"""`apex doctor`."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence

import click
from rich.table import Table

from apex_pipeline.cli import BEGAN
from apex_pipeline.cli.command_line import AS_JSON, takes
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.tables import wide_console
from apex_pipeline.cli.terminal import say
from apex_pipeline.flags_and_launchpad_forms.inspection_forms import DoctorForm
from apex_pipeline.monitoring.doctor.check_results import CheckLine, CheckState
from apex_pipeline.monitoring.doctor.checklist import look
from apex_pipeline.monitoring.doctor.dagster_health import InstanceHealth
from apex_pipeline.monitoring.doctor.runner import patience
from apex_pipeline.monitoring.doctor.surroundings import Surroundings
from apex_pipeline.settings import dagster_environment
from apex_pipeline.texts.printable_text import printable

_MARKS = {
    CheckState.OK: ("✓", "green"),
    CheckState.WARNING: ("!", "yellow"),
    CheckState.FAILED: ("✗", "bold red"),
    CheckState.NOT_CHECKED: ("-", "dim"),
}


@click.command()
@AS_JSON
@takes(DoctorForm)
def doctor(*, as_json: bool, form: DoctorForm) -> None:
    """Check everything the sync needs against the live systems, and say how to fix it.

    Changes nothing, and sends no message without --send-test. A check that depends on a
    failed one is reported as not checked and names it. Exit 0: no check failed, but
    there may be warnings; 1: at least one failed; 2: nothing could be checked, because
    the configuration names neither Postgres nor Dataverse.
    """
    # Dagster reads its variables from the process.
    os.environ.update(dagster_environment(os.environ))
    with waiting("Checking …"):
        around = Surroundings(
            look_at_dagster,
            seconds=patience(BEGAN, send_test=form.send_test),
            send_test=form.send_test,
        )
        lines = look(os.environ, around)
    if as_json:
        say(json.dumps(_document(lines), allow_nan=False))
    else:
        _print(lines)
    sys.exit(1 if _failed(lines) else 0)


def look_at_dagster(environment: Mapping[str, str]) -> InstanceHealth | None:
    """Read Dagster's state. Imports Dagster here, while the other checks wait on I/O."""
    from apex_pipeline.defs.operations.instance_state import look_at_instance  # noqa: PLC0415  slow

    return look_at_instance(environment)


def _failed(lines: Sequence[CheckLine]) -> bool:
    return any(line.state is CheckState.FAILED for line in lines)


def _document(lines: Sequence[CheckLine]) -> dict[str, object]:
    return {
        "healthy": not _failed(lines),
        "lines": [dataclasses.asdict(line) for line in lines],
    }


def _print(lines: Sequence[CheckLine]) -> None:
    console = wide_console()
    table = Table(box=None, pad_edge=False, show_edge=False)
    for heading in ("", "line", "measured", "target"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        mark, style = _MARKS[line.state]
        table.add_row(f"[{style}]{mark}[/]", line.name, _measured(line), line.target)
    console.print(table)
    for line in lines:
        if line.remedy and line.state is not CheckState.OK:
            console.print(f"\n{line.name}: ", end="", style=_MARKS[line.state][1])
            console.print(printable(line.remedy), markup=False)
    counts = ", ".join(
        f"{sum(line.state is state for line in lines)} {state.value}"
        for state in CheckState
    )
    console.print(f"\n{counts}")


def _measured(line: CheckLine) -> str:
    text = printable(line.measured).replace("[", r"\[")
    if line.state is CheckState.NOT_CHECKED:
        return f"not checked: {text}"
    return text
