"""`apex provision`."""

import os

import click

from apex_pipeline import migrations
from apex_pipeline.settings import load_database_url


@click.group()
def provision() -> None:
    """Make tables as they should be; what is right already is left alone."""


@provision.command("database")
@click.option("--plan", is_flag=True, help="Show what would be done, and do nothing.")
def provision_database(*, plan: bool) -> None:
    """Apply the migrations in sql/ that the database does not have yet.

    An existing campaign_metrics keeps its rows, types and indexes; only what is missing
    is added, without a long lock. Needs DATABASE_URL alone.
    """
    url = load_database_url(os.environ)
    names = migrations.pending(url) if plan else migrations.apply(url)
    verb = "would be applied" if plan else "applied"
    for name in names:
        click.echo(f"{verb}: {name}")
    if not names:
        click.echo("The database is as it should be.")
