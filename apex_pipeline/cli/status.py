"""`apex status`."""

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import click

from apex_pipeline.cli import BEGAN
from apex_pipeline.cli.output import plain
from apex_pipeline.cli.tables import words
from apex_pipeline.cli.terminal import say
from apex_pipeline.monitoring.rules.health_summary import reasons
from apex_pipeline.monitoring.status_overview import overview
from apex_pipeline.settings import dagster_environment


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--check",
    is_flag=True,
    help="Print one line per problem, for cron and container health checks.",
)
def status(*, as_json: bool, check: bool) -> None:
    """Show whether the sync keeps up, and if not, why.

    With --check, exit 0: healthy; 1: there are problems; 2: the configuration is wrong.
    Warnings, such as quarantined rows, and silenced incidents do not count. Without
    --check, exit 1 means that Postgres could not be read; the rest is still shown.
    """
    environment = dict(os.environ) | dagster_environment(os.environ)
    if check:
        _check(environment, as_json=as_json)
    found = overview(environment, began=BEGAN)
    error = found["database_error"]
    if as_json:
        say(json.dumps(found, default=plain, allow_nan=False))
    else:
        _print(found)
    sys.exit(1 if error else 0)


def _print(found: dict[str, object]) -> None:
    error = found.pop("database_error")
    found["open_incidents"] = _list(found["open_incidents"])
    lines = [(name.replace("_", " "), words(value)) for name, value in found.items()]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        say(f"{name:<{width}}  {value}")
    if error:
        say(str(error), err=True)


def _check(environment: Mapping[str, str], *, as_json: bool) -> None:
    found = reasons(environment, datetime.now(UTC), began=BEGAN)
    if as_json:
        say(json.dumps({"healthy": not found, "reasons": found}, allow_nan=False))
    else:
        for line in found:
            say(line)
    sys.exit(1 if found else 0)


def _list(titles: object) -> str:
    if not isinstance(titles, list):
        return "unknown"
    return "; ".join(titles) or "none"
