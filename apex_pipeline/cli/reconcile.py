"""`apex reconcile`."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping

import click
from rich.console import Console
from rich.table import Table

from apex_pipeline.cli.command_line import AS_JSON, takes
from apex_pipeline.cli.output import plain, waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.definitions import defs
from apex_pipeline.defs.operations.launch import FinishedRun, reconcile_through_dagster
from apex_pipeline.flags_and_launchpad_forms.reconcile_form import ReconcileForm
from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile import progress
from apex_pipeline.reconcile.agreement import (
    SMALLEST_ENTITLEMENT,
    Agreement,
    read_agreement,
)
from apex_pipeline.reconcile.findings import MOST_KEPT, FindingKind
from apex_pipeline.reconcile.progress import ReconciliationRun
from apex_pipeline.settings import Settings, dagster_environment, load_settings
from apex_pipeline.texts.printable_text import printable

# Reading the outcome of a finished run must not add a long wait of its own.
_READ_SECONDS = 10.0

_MEANINGS = {
    FindingKind.MISSING: (
        "rows marked as exported that have no record",
        "`apex reconcile --repair`; the next sync sends them",
    ),
    FindingKind.DIFFERENT: (
        "rows whose record holds other values",
        "`apex reconcile --repair`; the next sync sends them",
    ),
    FindingKind.UNKNOWN: (
        "records without a matching row",
        "delete them in Dataverse if you do not need them",
    ),
    FindingKind.DOUBLE: (
        "additional records of the same rows, under other ids",
        "delete them in Dataverse",
    ),
    FindingKind.OTHER_FLOW: (
        "records that another flow created for rows without a record of their own",
        "switch that flow off, then run `apex reconcile --adopt`",
    ),
    FindingKind.AMBIGUOUS: (
        "records of another flow that match several rows, or share one row",
        "delete the surplus ones in Dataverse, then run `apex reconcile --adopt`",
    ),
}


@click.command()
@takes(ReconcileForm)
@AS_JSON
def reconcile(*, form: ReconcileForm, as_json: bool) -> None:
    """Compare exported rows with their Dataverse records, by id, in all 13 columns.

    The first run compares everything. Later runs compare what changed on either side,
    plus a thirtieth of the rest. If a run reaches its limit, the next one continues.
    Exit 0: everything agrees, or is repaired; 1: something does not agree, the
    comparison failed, or another one is running; 2: the configuration is wrong.
    """
    form.options()  # Refuses what cannot be combined, before anything is started.
    # On SIGTERM stop as on Ctrl-C, and report what was done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = load_settings(os.environ)
    # Dagster reads its variables from the process.
    os.environ.update(dagster_environment(os.environ))
    with waiting("Comparing rows with records …"):
        ended = reconcile_through_dagster(defs(), form.given(), os.environ)
    run, standing = _read(settings, ended)
    is_well = ended.failure is None and ended.note is None and standing.is_settled
    if as_json:
        say(json.dumps(_document(ended, run, standing), default=plain, allow_nan=False))
    else:
        _print(ended, run, standing)
    sys.exit(0 if is_well else 1)


def _read(
    settings: Settings, ended: FinishedRun
) -> tuple[ReconciliationRun | None, Agreement]:
    with Database(
        settings.database_url,
        wait_seconds=_READ_SECONDS,
        statement_seconds=_READ_SECONDS,
        application_name="apex_pipeline",
    ) as database:
        runs = database.transact(lambda c: progress.last_runs(c, 20), repeatable=True)
        standing = read_agreement(database, settings.dataverse.resource)
    run = next((each for each in runs if each.dagster_run_id == ended.run_id), None)
    return run, standing


def _document(
    ended: FinishedRun, run: ReconciliationRun | None, standing: Agreement
) -> Mapping[str, object]:
    return {
        **dataclasses.asdict(ended),
        "run": None if run is None else dataclasses.asdict(run),
        "standing": dataclasses.asdict(standing),
        "settled": standing.is_settled,
        "entitlement_pct": round(standing.entitlement_pct, 2),
    }


def _print(
    ended: FinishedRun, run: ReconciliationRun | None, standing: Agreement
) -> None:
    if ended.failure is not None:
        say(f"The comparison failed: {ended.failure}", err=True)
    elif ended.note is not None:
        say(f"Nothing was compared: {ended.note}.", err=True)
    for line in _words(run, standing):
        say(line)
    _print_findings(standing)
    if run is not None and run.repaired:
        say("Rows that were repaired are pending; the next sync delivers them.")


def _words(run: ReconciliationRun | None, standing: Agreement) -> list[str]:
    lines = []
    if run is not None:
        lines.append(
            f"{run.rows_compared} rows compared, {run.changes_read} changes read; "
            f"{run.repaired} repaired, {run.adopted} adopted."
        )
        lines += [run.note] if run.note else []
    passed = standing.last_pass_finished_at
    lines.append(
        f"All rows were last compared at {passed:%Y-%m-%d %H:%M} UTC."
        if passed
        else f"Not all rows have been compared yet ({standing.rows_under_way} so far)."
    )
    both = standing.requests_24h + standing.sync_requests_24h
    lines.append(
        f"{0 if run is None else run.requests} requests, {standing.requests_24h} in 24 "
        f"hours; with syncing, whose rows count one each, {both}: "
        f"{standing.entitlement_pct:.1f} % of "
        f"{SMALLEST_ENTITLEMENT}, the smallest daily entitlement."
    )
    return lines


def _print_findings(standing: Agreement) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # A file or a log has no width to fit.
        console.width = 200
    if standing.is_settled:
        console.print("Rows and records agree.", style="green")
        return
    for kind, count in standing.counts.items():
        if not count:
            continue
        text, remedy = _MEANINGS[kind]
        number = f"{count} or more" if count >= MOST_KEPT else str(count)
        console.print(f"\n{kind.value}: {number} ({text})", style="bold", markup=False)
        console.print(f"  {remedy}", markup=False)
        table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2))
        for heading in ("  row", "record", "columns"):
            table.add_column(heading, overflow="fold")
        for each in standing.examples:
            if each.kind is kind:
                table.add_row(
                    printable(f"  {each.metric_id or '-'}").replace("[", r"\["),
                    printable(each.record_id or "-"),
                    ", ".join(each.columns) or "-",
                )
        console.print(table)
