"""`apex status`."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import click

from apex_pipeline import store
from apex_pipeline.alerts.journal import VARIABLE, Journal
from apex_pipeline.cli.output import plain
from apex_pipeline.cli.tables import words
from apex_pipeline.credential_end import credential_end
from apex_pipeline.errors import DatabaseError
from apex_pipeline.settings import dagster_environment, load_settings
from apex_pipeline.status import read_status
from apex_pipeline.watch.checkup import reasons

_DIRECTORY_SECONDS = 2.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--check",
    is_flag=True,
    help="Print why it is not well, one line each, for cron and container health checks.",
)
def status(*, as_json: bool, check: bool) -> None:
    """Show whether the sync keeps up, and if not, why.

    With --check exit 0: all is well; 1: it is not; 2: the configuration is wrong.
    Warnings, such as rows in quarantine, and what is silenced are no reason for 1.
    """
    environment = dict(os.environ) | dagster_environment(os.environ)
    if check:
        _check(environment, as_json=as_json)
    settings = load_settings(environment)
    with store.connect(settings.database_url) as opened:
        found = dataclasses.asdict(read_status(opened, settings.dataverse))
    end = credential_end(
        settings.dataverse,
        environment,
        settings.token_cache_path,
        seconds=_DIRECTORY_SECONDS,
    )
    found |= {"credential_expires_on": end.on, "credential_source": end.source}
    wrong = _open_incidents(environment)
    if as_json:
        click.echo(json.dumps(found | {"open_incidents": wrong}, default=plain))
        return
    known = [(name.replace("_", " "), words(value)) for name, value in found.items()]
    lines = [*known, ("open incidents", _list(wrong))]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {value}")


def _check(environment: Mapping[str, str], *, as_json: bool) -> None:
    found = reasons(environment, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps({"healthy": not found, "reasons": found}))
    else:
        for line in found:
            click.echo(line)
    sys.exit(1 if found else 0)


def _open_incidents(environment: Mapping[str, str]) -> list[str] | None:
    """Their titles; None where nobody keeps them, or they cannot be read now."""
    url = environment.get(VARIABLE)
    if not url:
        return None
    try:
        with Journal(url, wait_seconds=1.0) as journal:
            return [each.title for each in journal.incidents()]
    except DatabaseError:
        return None


def _list(titles: list[str] | None) -> str:
    if titles is None:
        return "unknown"
    return "; ".join(titles) or "none"
