"""`apex status`."""

import dataclasses
import json
import os

import click

from apex_pipeline import store
from apex_pipeline.cli.output import plain
from apex_pipeline.cli.tables import words
from apex_pipeline.settings import load_settings
from apex_pipeline.status import Status, read_status


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Show whether the sync keeps up, and if not, why."""
    settings = load_settings(os.environ)
    with store.connect(settings.database_url) as opened:
        found = read_status(opened, settings.dataverse, os.environ)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), default=plain))
        return
    lines = _status_lines(found)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {value}")


def _status_lines(found: Status) -> list[tuple[str, str]]:
    return [
        (field.name.replace("_", " "), words(getattr(found, field.name)))
        for field in dataclasses.fields(found)
    ]
