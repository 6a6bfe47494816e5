"""`apex provision`."""

import dataclasses
import json
import os

import click

from apex_pipeline.audit.authors import process_author
from apex_pipeline.cli.command_line import AS_JSON, takes
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.flags_and_launchpad_forms.provision_form import ProvisionForm
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.provisioning.audited import provision_audited
from apex_pipeline.provisioning.databases import (
    DatabaseOutcome,
    provision_database as provision_postgres,
)
from apex_pipeline.provisioning.dataverse import ProvisioningOutcome
from apex_pipeline.settings import load_database_url, load_settings, read_variable


@click.group(invoke_without_command=True)
@takes(ProvisionForm)
@AS_JSON
@click.pass_context
def provision(ctx: click.Context, *, form: ProvisionForm, as_json: bool) -> None:
    """Create what the database and Dataverse lack; leave everything else alone.

    Without a subcommand it does both, the database first. Exit 0: both are complete, or
    the plan can be applied; 1: failed, or something needs a fix by hand.
    """
    if ctx.invoked_subcommand is not None:
        if form.plan_only or as_json:
            raise click.UsageError("Put options after the subcommand.", ctx)
        return
    # Validate the configuration of both ends before changing either.
    settings = load_settings(os.environ)
    load_administrator(os.environ, settings.dataverse)
    database = _database(plan=form.plan_only, as_json=as_json)
    dataverse = _dataverse(plan=form.plan_only, as_json=as_json)
    if as_json:
        _print_json({"database": database, "dataverse": _document(dataverse)})
    ctx.exit(1 if dataverse.plan.drifts else 0)


@provision.command("database")
@takes(ProvisionForm)
@AS_JSON
def provision_database(*, form: ProvisionForm, as_json: bool) -> None:
    """Apply the pending migrations in sql/, and create the database roles.

    An existing campaign_metrics keeps its rows, types and indexes. Only what is missing
    is added, without long locks. Needs only DATABASE_URL. If DAGSTER_POSTGRES_URL is
    set, the alert tables are created there too.
    """
    names = _database(plan=form.plan_only, as_json=as_json)
    if as_json:
        _print_json(names)


@provision.command("dataverse")
@takes(ProvisionForm)
@AS_JSON
@click.pass_context
def provision_dataverse(
    ctx: click.Context, *, form: ProvisionForm, as_json: bool
) -> None:
    """Create the table, its columns, the security role and the application user.

    Adds only what is missing. It never deletes, narrows or renames anything. If
    something needs a fix by hand, it lists the remedy and changes nothing. Afterwards it
    verifies the result.

    Signs in as the administrator in APEX_ADMIN_TENANT_ID, APEX_ADMIN_CLIENT_ID and
    APEX_ADMIN_CLIENT_SECRET, who also deletes the test record that the application
    writes. Without them it signs in as the application itself. The application then
    needs the right to customize, and no test record is written.
    """
    outcome = _dataverse(plan=form.plan_only, as_json=as_json)
    if as_json:
        _print_json(_document(outcome))
    ctx.exit(1 if outcome.plan.drifts else 0)


def _database(*, plan: bool, as_json: bool) -> dict[str, list[str]]:
    url = load_database_url(os.environ)
    # CREATE INDEX CONCURRENTLY waits for older transactions, so this can take a while.
    with waiting("Reading the database …" if plan else "Applying migrations …"):
        outcome = provision_postgres(
            url,
            read_variable(os.environ, "DAGSTER_POSTGRES_URL"),
            plan_only=plan,
        )
    document = {
        "pending" if plan else "applied": outcome.names,
        "created": outcome.created,
        "granted": outcome.granted,
    }
    if outcome.by_hand:
        document["by_hand"] = [outcome.by_hand]
    if not as_json:
        for line in _database_lines(outcome, "would be " if plan else ""):
            say(line)
    return document


def _database_lines(outcome: DatabaseOutcome, mood: str) -> list[str]:
    lines = [f"{mood}applied: {name}" for name in outcome.names]
    lines += [f"{mood}created: role {role}" for role in outcome.created]
    lines += [f"{mood}granted: {each}" for each in outcome.granted]
    if outcome.by_hand:
        lines.append(f"fix by hand: {outcome.by_hand}")
    return lines or ["The database is up to date."]


def _dataverse(*, plan: bool, as_json: bool) -> ProvisioningOutcome:
    settings = load_settings(os.environ)
    administrator = load_administrator(os.environ, settings.dataverse)

    def tell(text: str) -> None:
        if not as_json:
            say(f"created: {text}")

    with waiting("Reading Dataverse …"):
        outcome = provision_audited(
            settings,
            administrator,
            process_author(os.environ),
            plan_only=plan,
            tell=tell,
        )
    if not as_json:
        for line in _lines(outcome, plan=plan):
            say(line)
    return outcome


def _lines(outcome: ProvisioningOutcome, *, plan: bool) -> list[str]:
    lines = []
    if plan:
        lines += [f"would be created: {change.text}" for change in outcome.plan.changes]
    lines += [f"fix by hand: {drift}" for drift in outcome.plan.drifts]
    if not outcome.plan.changes and not outcome.plan.drifts:
        lines.append("Dataverse is up to date.")
    lines += [f"verified: {check}" for check in outcome.checks]
    lines += [f"note: {note}" for note in outcome.plan.notes]
    return lines


def _document(outcome: ProvisioningOutcome) -> dict[str, object]:
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
