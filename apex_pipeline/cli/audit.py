"""`apex audit`: list and show events, verify the trail, export evidence, prune."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from apex_pipeline.audit import retention, trail
from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.chain_walk import Anchor
from apex_pipeline.audit.events import Action, Event
from apex_pipeline.audit.evidence import write_pack
from apex_pipeline.audit.intents import intended
from apex_pipeline.audit.stamp_checks import stamp_check
from apex_pipeline.audit.trail import parse_head, part
from apex_pipeline.audit.verification import (
    Verification,
    keep_verification,
    verify as verify_trail,
)
from apex_pipeline.cli.command_line import AS_JSON, YES, takes
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.tables import print_table
from apex_pipeline.cli.terminal import say
from apex_pipeline.errors import ConfigError, DatabaseError
from apex_pipeline.flags_and_launchpad_forms.audit_forms import (
    AuditExportForm,
    AuditListForm,
    AuditVerifyForm,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import load_audit_settings, load_database_url

_VERIFY_SECONDS = 3600.0
_WIDEST = 60


@click.group()
def audit() -> None:
    """Show who did what, verify that nothing was changed, and export evidence.

    Every act that changes what becomes of data leaves one event in the table
    audit_event. Each event's hash covers the one before it.
    """


@audit.command("list")
@takes(AuditListForm)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
    help="Maximum events to show.",
)  # fmt: skip
@AS_JSON
def list_events(*, form: AuditListForm, limit: int, as_json: bool) -> None:
    """List events, newest first."""
    with _opened() as database:
        found = database.ask(trail.newest, limit=limit, **form.filters())
    if as_json:
        _print_json({"events": found})
        return
    if not found:
        say("No events.")
        return
    print_table([_cells(event) for event in found])
    if len(found) == limit:
        say(f"There may be more: --before {found[-1]['sequence']}")


@audit.command()
@click.argument("sequence", type=click.IntRange(1))
@AS_JSON
def show(*, sequence: int, as_json: bool) -> None:
    """Show one event, by its SEQUENCE."""
    with _opened() as database:
        event = database.ask(trail.one, sequence)
    if as_json:
        _print_json(event)
        return
    width = max(map(len, event))
    for name, value in event.items():
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        say(f"{name.replace('_', ' '):<{width}}  {text}")


@audit.command()
@takes(AuditVerifyForm)
@AS_JSON
def verify(*, form: AuditVerifyForm, as_json: bool) -> None:
    """Verify the whole trail: every hash, the order, and every anchor.

    Exit 0: unbroken; 1: something was changed, removed, moved or inserted, and the first
    such event is named; 2: the configuration is wrong. Pass the anchors that were noted
    elsewhere: only they find a trail whose end was cut off, or that was rewritten
    together with the anchors here.
    """
    heads = [parse_head(text) for text in form.anchors]
    elsewhere = [Anchor(h.sequence, h.hash, is_kept_here=False) for h in heads]
    with _opened() as database, waiting("Verifying …") as update:
        found = _verified(
            database, elsewhere, lambda n: update(f"Verifying … {n:,} events")
        )
    if as_json:
        document = {
            "unbroken": found.is_unbroken,
            "events": found.events,
            "anchors": found.anchors,
            "head": None if found.head is None else str(found.head),
            "problems": list(found.problems),
        }
        _print_json(document)
    else:
        for problem in found.problems:
            say(problem, err=True)
        state = "Unbroken" if found.is_unbroken else "Broken"
        say(f"{state}: {found.events:,} events, {found.anchors:,} anchors checked.")
        if found.head is not None and found.events:
            say(f"head  {found.head}")
    sys.exit(0 if found.is_unbroken else 1)


@audit.command()
@takes(AuditExportForm)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FOLDER",
    help="New folder for the pack.  [default: audit-FROM-TO]",
)  # fmt: skip
def export(*, form: AuditExportForm, output: Path | None) -> None:
    """Write an evidence pack: events, anchors, time stamps, and the verification.

    Exit 0: written, and the trail is unbroken; 1: failed, or the trail is broken, which
    the pack then says.
    """
    first, last = form.days()
    folder = output or Path(f"audit-{first}-{last}")
    event = Event(
        Action.EXPORT,
        process_author(os.environ),
        {
            "dataset": "audit_event",
            "first": str(first),
            "last": str(last),
            "to": folder.name,
        },
    )
    with (
        _opened() as database,
        waiting("Verifying …"),
        intended(database, event) as ending,
    ):
        found = _verified(database)
        pack = database.transact(lambda c: write_pack(c, folder, first, last, found))
        ending.counts["events"] = pack.events
    say(f"{pack.folder}: {pack.events:,} events, {len(pack.files)} files.")
    for problem in found.problems:
        say(problem, err=True)
    sys.exit(0 if found.is_unbroken else 1)


@audit.command()
@YES
def prune(*, yes: bool) -> None:
    """Delete events older than APEX_AUDIT_KEEP, up to an anchor.

    The rest still verifies: an event says where the trail was cut. Needs the role that
    owns the tables.
    """
    keep = load_audit_settings(os.environ).keep
    if keep is None:
        raise ConfigError("APEX_AUDIT_KEEP is not set: events are kept for ever.")
    with _opened() as database:
        cut = database.ask(retention.find_cut, keep)
        if cut is None:
            say("No event is that old and covered by an anchor.")
            return
        if not database.ask(retention.may_prune):
            raise ConfigError(
                "The role in DATABASE_URL may not prune: only the owner of audit_event may "
                f"delete events. Nothing was deleted; {cut.events:,} events are older than "
                "APEX_AUDIT_KEEP. Run `apex audit prune` with the owner's DATABASE_URL."
            )
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(
                    f"This deletes {cut.events:,} events. Pass --yes to run "
                    "non-interactively."
                )
            click.confirm(f"Delete {cut.events:,} events?", abort=True, err=True)
        done = retention.prune(database, keep, process_author(os.environ))
    say(f"{done.events if done else 0:,} events deleted.")


def _verified(
    database: Database,
    elsewhere: Sequence[Anchor] = (),
    tell: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Verify, and keep the result for monitoring where our role may."""
    check = stamp_check(load_audit_settings(os.environ))
    found = database.transact(
        lambda c: verify_trail(c, elsewhere=elsewhere, check_stamp=check, tell=tell)
    )
    try:
        database.transact(lambda c: keep_verification(c, found))
    except DatabaseError as error:
        # An auditor's role may only read.
        say(f"note: the result is not stored: {error}", err=True)
    return found


def _opened() -> Database:
    return Database(
        load_database_url(os.environ),
        statement_seconds=_VERIFY_SECONDS,
        application_name="apex_audit",
    )


def _cells(event: Mapping[str, Json]) -> dict[str, str]:
    told = {**part(event, "subject"), **part(event, "counts")}
    about = ", ".join(f"{name}: {_short(value)}" for name, value in told.items())
    outcome = "" if event["outcome"] == "done" else f" ({event['outcome']})"
    return {
        "event": str(event["sequence"]),
        "at": f"{str(event['at'])[:19].replace('T', ' ')} UTC",
        "actor": str(event["actor"]),
        "action": f"{event['action']}{outcome}",
        "about": about,
        "reason": str(event["reason"] or ""),
    }


def _short(value: Json) -> str:
    match value:
        case list():
            first = ", ".join(str(each) for each in value[:2])
            return f"{first} …" if len(value) > 2 else first
        case dict():
            return ", ".join(value)
        case _:
            text = str(value)
            return text if len(text) <= _WIDEST else f"{text[:_WIDEST]} …"


def _print_json(document: object) -> None:
    say(json.dumps(document, allow_nan=False))
