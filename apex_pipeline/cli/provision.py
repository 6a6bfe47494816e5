"""`apex provision`."""

import dataclasses
import json
import os

import click

from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.provisioning.databases import (
    provision_database as provision_postgres,
)
from apex_pipeline.provisioning.dataverse import Outcome, provision as provision_all
from apex_pipeline.settings import load_database_url, load_settings, read_variable

_PLAN = click.option(
    "--plan", is_flag=True, help="Show what would be done, and do nothing."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(invoke_without_command=True)
@_PLAN
@_JSON
@click.pass_context
def provision(ctx: click.Context, *, plan: bool, as_json: bool) -> None:
    """Make database and Dataverse as they should be; what is right is left alone.

    Without a command both, the database first. Exit 0: as it should be, or the plan can
    be carried out; 1: failed, or something is there that only a person can mend.
    """
    if ctx.invoked_subcommand is not None:
        if plan or as_json:
            raise click.UsageError("Write options after the command's name.", ctx)
        return
    # Both ends, or neither: a wrong variable stops this before anything is made.
    settings = load_settings(os.environ)
    load_administrator(os.environ, settings.dataverse)
    database = _database(plan=plan, as_json=as_json)
    dataverse = _dataverse(plan=plan, as_json=as_json)
    if as_json:
        _print_json({"database": database, "dataverse": _document(dataverse)})
    ctx.exit(1 if dataverse.plan.drifts else 0)


@provision.command("database")
@_PLAN
@_JSON
def provision_database(*, plan: bool, as_json: bool) -> None:
    """Apply the migrations in sql/ that the database does not have yet.

    An existing campaign_metrics keeps its rows, types and indexes; only what is missing
    is added, without a long lock. Needs DATABASE_URL alone. Where DAGSTER_POSTGRES_URL is
    set, the tables of the alerts are made there too.
    """
    names = _database(plan=plan, as_json=as_json)
    if as_json:
        _print_json(names)


@provision.command("dataverse")
@_PLAN
@_JSON
@click.pass_context
def provision_dataverse(ctx: click.Context, *, plan: bool, as_json: bool) -> None:
    """Make the table, its columns, the role and the application user.

    Reads what is there and adds what is missing: nothing is deleted, narrowed or
    renamed. What only a person can mend is listed with its remedy, and then nothing is
    touched. Then it is verified.

    Signs in as the administrator that APEX_ADMIN_TENANT_ID, APEX_ADMIN_CLIENT_ID and
    APEX_ADMIN_CLIENT_SECRET name, who also removes the test record that the application
    writes; without them as the application itself, which then needs the right to
    customize, and writes no test record.
    """
    outcome = _dataverse(plan=plan, as_json=as_json)
    if as_json:
        _print_json(_document(outcome))
    ctx.exit(1 if outcome.plan.drifts else 0)


def _database(*, plan: bool, as_json: bool) -> dict[str, list[str]]:
    url = load_database_url(os.environ)
    # An index is built beside whatever else goes on, and waits for older transactions.
    with waiting("Looking at the database …" if plan else "Applying migrations …"):
        outcome = provision_postgres(
            url, read_variable(os.environ, "DAGSTER_POSTGRES_URL"), plan_only=plan
        )
    names, problem = outcome.names, outcome.by_hand
    found = {"pending" if plan else "applied": names}
    if problem:
        found["by_hand"] = [problem]
    if not as_json:
        for name in names:
            say(f"{'would be applied' if plan else 'applied'}: {name}")
        if problem:
            say(f"to be done by hand: {problem}")
        elif not names:
            say("The database is as it should be.")
    return found


def _dataverse(*, plan: bool, as_json: bool) -> Outcome:
    settings = load_settings(os.environ)
    administrator = load_administrator(os.environ, settings.dataverse)

    def tell(text: str) -> None:
        if not as_json:
            say(f"made: {text}")

    with waiting("Looking at Dataverse …"):
        outcome = provision_all(
            settings.dataverse,
            administrator,
            settings.token_cache_path,
            plan_only=plan,
            tell=tell,
        )
    if not as_json:
        for line in _lines(outcome, plan=plan):
            say(line)
    return outcome


def _lines(outcome: Outcome, *, plan: bool) -> list[str]:
    lines = []
    if plan:
        lines += [f"would be made: {change.text}" for change in outcome.plan.changes]
    lines += [f"to be mended by hand: {drift}" for drift in outcome.plan.drifts]
    if not outcome.plan.changes and not outcome.plan.drifts:
        lines.append("Dataverse is as it should be.")
    lines += [f"verified: {check}" for check in outcome.checks]
    lines += [f"note: {note}" for note in outcome.plan.notes]
    return lines


def _document(outcome: Outcome) -> dict[str, object]:
    changes = [dataclasses.asdict(change) for change in outcome.plan.changes]
    return {
        "changes": changes,
        "drifts": outcome.plan.drifts,
        "notes": outcome.plan.notes,
        "applied": outcome.applied,
        "verified": outcome.checks,
    }


def _print_json(document: object) -> None:
    say(json.dumps(document, allow_nan=False))
