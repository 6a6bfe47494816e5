"""`apex quarantine`: list, explain, release and drop the rows that Dataverse refused."""

import dataclasses
import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence

import click

from apex_pipeline.cli.command_line import AS_JSON, YES, takes
from apex_pipeline.cli.output import plain, waiting
from apex_pipeline.cli.tables import print_table, words
from apex_pipeline.cli.terminal import say
from apex_pipeline.errors import ApexError
from apex_pipeline.flags_and_launchpad_forms.quarantine_form import QuarantineForm
from apex_pipeline.postgres import store
from apex_pipeline.postgres.store import Store
from apex_pipeline.quarantine import decisions, listing
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.quarantine.explanation import examine
from apex_pipeline.quarantine.listing import Cause, QuarantinedRow
from apex_pipeline.settings import dagster_environment, load_settings, read_variable
from apex_pipeline.texts.counted import counted


@click.group()
def quarantine() -> None:
    """List the rows that Dataverse refused; release or drop them.

    A quarantined row is retried after five minutes, then after twice as long each time,
    at most a day. Fix the cause, then release the rows to retry them now.
    """


@quarantine.command("list")
@takes(
    QuarantineForm,
    *("code", "matching", "dropped", "by_cause", "offset"),
    action="list",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
    help="Maximum lines to show.",
)  # fmt: skip
@AS_JSON
def list_rows(*, form: QuarantineForm, limit: int, as_json: bool) -> None:
    """List the rows and why each was refused, oldest refusal first."""
    selection, offset = form.selection(), form.offset
    with _opened() as opened:
        read = listing.causes if form.by_cause else listing.rows
        found: Sequence[Cause | QuarantinedRow] = opened.ask(
            read, selection, limit, offset
        )
        waiting, dropped = opened.ask(decisions.count)
        counts = {"quarantined": waiting, "dropped": dropped}
    if as_json:
        lines = [dataclasses.asdict(one) for one in found]
        _print_json(counts | {"causes" if form.by_cause else "rows": lines})
        return
    if found:
        print_table([_cells(one) for one in found])
    elif offset or not selection.everything:
        say(f"No matching rows{f' after the first {offset}' if offset else ''}.")
    if len(found) == limit:
        say(f"There may be more: --offset {offset + limit}")
    say(
        f"{counts['quarantined']} in quarantine, {counts['dropped']} dropped"
        f"{' (--dropped shows them)' if counts['dropped'] and not form.dropped else ''}."
    )


@quarantine.command()
@click.argument("row_id", metavar="ID")
@AS_JSON
def show(*, row_id: str, as_json: bool) -> None:
    """Show one row: why it was refused, its values, and what would be sent."""
    with _opened() as opened:
        found = opened.quarantined_row(row_id)
    if as_json:
        _print_json({"rows": [_document(row, values) for row, values in found]})
        return
    for row, values in found:
        facts = [(n, v) for n, v in dataclasses.asdict(row).items() if v is not None]
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            say(f"{name.replace('_', ' '):<{width}}  {words(value)}")
        say()
        print_table(
            [
                {
                    "column": line.name,
                    "value": line.value,
                    "sent as": line.dataverse,
                    "would be sent": line.sent or "",
                    "wrong": line.problem or "",
                }
                for line in examine(row, values)
            ],
            alarming="wrong",
        )


@quarantine.command()
@takes(
    QuarantineForm,
    *("ids", "code", "matching", "all_rows", "dropped"),
    action="release",
)
@YES
@AS_JSON
def release(*, form: QuarantineForm, yes: bool, as_json: bool) -> None:
    """Deliver rows with the next sync: by ID, by cause, or --all.

    To bring dropped rows back, pass their IDs or --dropped. If any ID is not in
    quarantine, nothing is released.
    """
    selection = form.selection()
    with _opened() as opened:
        if form.all_rows:
            _confirm(opened, selection, "Release", yes=yes)
        count = opened.release(selection)
        _tell_dagster(opened)
    _print_count(
        count,
        "released",
        "The next sync delivers it.",
        "The next sync delivers them.",
        as_json=as_json,
    )  # fmt: skip


@quarantine.command()
@takes(
    QuarantineForm,
    *("ids", "code", "matching", "all_rows", "reason", "decided_by"),
    action="drop",
)
@YES
@AS_JSON
def drop(*, form: QuarantineForm, yes: bool, as_json: bool) -> None:
    """Stop sending rows for good: by ID, by cause, or --all.

    Dropped rows stay in Postgres and no longer raise alerts. `apex quarantine release`
    brings them back. If any ID is not in quarantine, nothing is dropped.
    """
    selection = form.selection()
    decision = Decision(form.reason, form.decided_by or _user())
    with _opened() as opened:
        _confirm(opened, selection, "Drop", yes=yes)
        count = opened.drop(selection, decision)
        _tell_dagster(opened)
    _print_count(
        count,
        "dropped",
        "`apex quarantine list --dropped` lists it.",
        "`apex quarantine list --dropped` lists them.",
        as_json=as_json,
    )  # fmt: skip


def _opened() -> Store:
    return store.connect(load_settings(os.environ).database_url)


def _confirm(
    opened: Store, selection: QuarantineSelection, verb: str, *, yes: bool
) -> None:
    """Ask for confirmation, with the number of rows affected; `yes` skips it."""
    if yes:
        return
    count = len(opened.ask(decisions.find, selection))
    if not count:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"This affects {counted(count, 'row')}. Pass --yes to run non-interactively."
        )
    click.confirm(f"{verb} {counted(count, 'row')}?", abort=True, err=True)


def _tell_dagster(opened: Store) -> None:
    """Update the quarantine asset in the Dagster UI, if DAGSTER_HOME is set."""
    os.environ.update(dagster_environment(os.environ))
    if not read_variable(os.environ, "DAGSTER_HOME"):
        return
    from apex_pipeline.defs.quarantine import quarantine_asset  # noqa: PLC0415  Dagster is slow

    try:
        with waiting("Updating Dagster …"):
            quarantine_asset.report_quarantine(quarantine_asset.read_quarantine(opened))
    except ApexError as error:
        # The rows have changed already; only the display is out of date.
        say(f"note: {error}", err=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a user id that has no name.
        return f"user {os.getuid()}"


def _cells(one: Cause | QuarantinedRow) -> dict[str, str]:
    if isinstance(one, Cause):
        return {
            "rows": str(one.count),
            "code": one.code,
            "cause": one.message,
            "oldest": words(one.oldest_rejected_at),
            "next attempt": words(one.next_attempt_at or "never"),
            "such as": "\n".join(one.example_ids),
        }
    cells = {
        "id": one.id,
        "code": one.code,
        "attempts": str(one.attempts),
        "first refused": words(one.first_rejected_at),
    }
    if one.next_attempt_at is not None:
        cells["next attempt"] = words(one.next_attempt_at)
    else:
        at = "" if one.dropped_at is None else words(one.dropped_at)
        cells["dropped"] = " ".join(filter(None, (at, one.dropped_by)))
        cells["reason"] = one.drop_reason or ""
    return cells | {"message": one.message}


def _document(row: QuarantinedRow, values: Mapping[str, object]) -> dict[str, object]:
    columns = [dataclasses.asdict(line) for line in examine(row, values)]
    return dataclasses.asdict(row) | {"columns": columns}


def _print_count(count: int, done: str, one: str, many: str, *, as_json: bool) -> None:
    """Print how many rows changed; a selection by cause or --all may match none."""
    if as_json:
        _print_json({done: count})
    elif count:
        say(f"{counted(count, 'row')} {done}. {one if count == 1 else many}")
    else:
        say(f"No matching rows; none {done}.")


def _print_json(document: object) -> None:
    say(json.dumps(document, default=plain, allow_nan=False))
