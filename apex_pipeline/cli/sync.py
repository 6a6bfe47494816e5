"""`apex sync`: run the scheduled sync job once."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping

import click

from apex_pipeline.cli.command_line import AS_JSON, takes
from apex_pipeline.cli.output import plain, waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.definitions import defs
from apex_pipeline.defs.operations.launch import FinishedRun, sync_through_dagster
from apex_pipeline.errors import DatabaseError
from apex_pipeline.flags_and_launchpad_forms.sync_form import SyncForm
from apex_pipeline.postgres import run_ledger, store
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.settings import dagster_environment, load_settings
from apex_pipeline.texts.counted import counted

# Reading the outcome of a finished run must not add a long wait of its own.
_READ_SECONDS = 3.0


@click.command()
@takes(SyncForm)
@AS_JSON
def sync(*, form: SyncForm, as_json: bool) -> None:
    """Deliver pending rows now, with the same job that the schedule runs.

    With --since, --until or --campaign, the matching rows are sent again instead of the
    pending ones, exported or not. A date starts at 00:00 UTC; an instant may have an
    offset: 2026-10-30T13:00+02:00. Marks are kept meanwhile, so you can stop and repeat
    it at any time. Quarantined rows are left out. Add --dry-run to count the rows first.

    The run goes through Dagster's queue if a daemon is alive, otherwise it runs in this
    process. If another sync is running, the command says so and exits 0.
    """
    # On SIGTERM stop as on Ctrl-C, and report what was done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Report a wrong slice before starting a run.
    form.options()
    run, record = _sync(form.given(), os.environ)
    if as_json:
        say(json.dumps(_outcome(run, record), default=plain, allow_nan=False))
    else:
        say(_counts(run, record), err=run.failure is not None)
    sys.exit(1 if run.failure else 0)


def _sync(
    config: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[FinishedRun, RunRecord | None]:
    """Run the job and read its outcome from the run ledger."""
    settings = load_settings(environment)
    # Dagster reads its variables from the process.
    os.environ.update(dagster_environment(environment))
    with waiting("Delivering pending rows …"):
        run = sync_through_dagster(defs(), config, os.environ)
    try:
        with store.connect(
            settings.database_url,
            wait_seconds=_READ_SECONDS,
            statement_seconds=_READ_SECONDS,
        ) as opened:
            records = opened.ask(run_ledger.last_runs, 20)
    except DatabaseError:
        if run.failure is None:
            raise
        # The failure of the run says more than this one.
        return run, None
    return run, next((r for r in records if r.dagster_run_id == run.run_id), None)


def first_sync(environment: Mapping[str, str]) -> str:
    """Run the first sync of `apex up --demo` and return its summary."""
    os.environ.update(environment)
    run, record = _sync({}, environment)
    counts = _counts(run, record)
    if run.failure is None and (record is None or not record.delivered):
        counts += (
            "\nA scheduled run may have been first; `apex status` shows the last runs."
        )
    return counts


def _counts(run: FinishedRun, record: RunRecord | None) -> str:
    lines = [] if run.failure is None else [f"The sync failed: {run.failure}"]
    if record is not None and record.status is RunStatus.RUNNING:
        lines.append(
            f"The run was interrupted after {record.delivered} rows were delivered; the "
            "next run continues."
        )
    elif record is not None:
        remaining = "unknown" if record.remaining is None else record.remaining
        lines.append(
            f"{record.delivered} delivered, {record.rejected} quarantined, "
            f"{remaining} remaining; {counted(record.requests, 'request')}, "
            f"throttled for {record.throttled_seconds:.0f} s."
        )
        lines += _on_the_way(record)
        if record.retry_at is not None:
            lines.append(
                "Dataverse is throttling this application; delivery resumes after "
                f"{record.retry_at:%H:%M:%S} UTC."
            )
    if run.slice_note is not None:
        lines.append(f"{run.slice_note[:1].upper()}{run.slice_note[1:]}.")
    elif record is None and run.failure is None:
        lines.append(f"Nothing was delivered: {run.note}.")
    return "\n".join(lines)


def _on_the_way(record: RunRecord) -> list[str]:
    counts = {
        "changed": record.changed,
        "were locked by another transaction": record.locked,
        "were deleted": record.deleted,
    }
    parts = [f"{count} {change}" for change, count in counts.items() if count]
    if not parts:
        return []
    line = f"While rows were being sent, {', '.join(parts)}"
    if record.changed or record.locked:
        line += "; changed and locked rows stay pending"
    if record.deleted:
        line += "; `apex reconcile` lists the records of deleted rows"
    return [f"{line}."]


def _outcome(run: FinishedRun, record: RunRecord | None) -> dict[str, object]:
    ledger = dataclasses.asdict(record) if record is not None else {}
    return ledger | dataclasses.asdict(run)
