"""The `apex` command. Exit 0: done; 1: failed; 2: the configuration is wrong."""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING

import click
from dotenv import load_dotenv

from apex_pipeline import __version__
from apex_pipeline.errors import ApexError, ConfigError, DatabaseError

if TYPE_CHECKING:
    from apex_pipeline.defs.launch import FinishedRun
    from apex_pipeline.ledger import RunRecord
    from apex_pipeline.status import Status

# What a command needs is imported when it runs: Dagster alone takes most of a second,
# which `apex --help` need not wait for.


class _Commands(click.Group):
    """Turns our errors into one message and an exit code, without a stack trace."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ApexError as error:
            for line in str(error).splitlines():
                click.echo(f"apex: {line}", err=True)
            ctx.exit(2 if isinstance(error, ConfigError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="apex")
def main() -> None:
    """Carry campaign metrics from Postgres into Microsoft Dataverse.

    With DATABASE_URL and DATAVERSE_RESOURCE unset, everything runs on this machine:
    begin with `apex up --demo`. Variables are also read from a file .env in the current
    folder; the README lists them all.
    """
    # As Dagster does it, so that both see the same; what is set already goes first.
    load_dotenv(".env")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)


@main.command()
@click.option(
    "--demo",
    is_flag=True,
    help="Fill in 90 days of believable campaigns, sync them at once, and go on "
    "writing a new run every few seconds.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port of the Dagster UI.",
)
def up(*, demo: bool, port: int) -> None:
    """Run everything on this machine until Ctrl-C.

    Starts a Postgres for Dagster's storage and Dagster itself; beside them, where the
    real ones are not configured, a Postgres for the metrics and a Dataverse emulator.
    The data stays in .apex (APEX_STATE_DIR) for the next start.
    """
    from apex_pipeline.local.up import run_up  # noqa: PLC0415  see above

    sys.exit(run_up(os.environ, demo=demo, port=port, first_sync=_first_sync))


@main.command()
@click.option("--limit", type=click.IntRange(1), help="Deliver no more rows than this.")
@click.option(
    "--time-budget",
    type=click.FloatRange(0, 240, min_open=True),
    metavar="SECONDS",
    help="Begin nothing more after so many seconds.  [default: 240]",
)
@click.option(
    "--dry-run", is_flag=True, help="Read and validate; send nothing, mark nothing."
)
@click.option(
    "--accept-duplicates",
    is_flag=True,
    help="Deliver although the table holds records that another flow made. Remembered; "
    "needed once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sync(
    *,
    limit: int | None,
    time_budget: float | None,
    dry_run: bool,
    accept_duplicates: bool,
    as_json: bool,
) -> None:
    """Deliver pending rows now, by the same job that the schedule runs.

    Goes through Dagster's queue while a daemon is alive, else runs in this process.
    Exit 0 also when another sync is at work, which it then says.
    """
    config = {
        "limit": limit,
        "time_budget_seconds": time_budget,
        "dry_run": dry_run,
        "accept_duplicates": accept_duplicates,
    }
    config = {name: value for name, value in config.items() if value}
    run, record = _sync(config, os.environ)
    if as_json:
        click.echo(json.dumps(_outcome(run, record), default=_plain))
    else:
        click.echo(_counts(run, record), err=run.failure is not None)
    sys.exit(1 if run.failure else 0)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Show whether the sync keeps up, and if not, why."""
    from apex_pipeline import store  # noqa: PLC0415  see above
    from apex_pipeline.settings import load_settings  # noqa: PLC0415
    from apex_pipeline.status import read_status  # noqa: PLC0415

    settings = load_settings(os.environ)
    with store.connect(settings.database_url) as opened:
        found = read_status(opened, settings.dataverse, os.environ)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), default=_plain))
        return
    width = max(len(name) for name, _ in _status_lines(found))
    for name, value in _status_lines(found):
        click.echo(f"{name:<{width}}  {value}")


@main.group()
def provision() -> None:
    """Make tables as they should be; what is right already is left alone."""


@provision.command("database")
@click.option("--plan", is_flag=True, help="Show what would be done, and do nothing.")
def provision_database(*, plan: bool) -> None:
    """Apply the migrations in sql/ that the database does not have yet.

    An existing campaign_metrics keeps its rows, types and indexes; only what is missing
    is added, without a long lock.
    """
    from apex_pipeline import migrations  # noqa: PLC0415  see above
    from apex_pipeline.settings import load_settings  # noqa: PLC0415

    url = load_settings(os.environ).database_url
    names = migrations.pending(url) if plan else migrations.apply(url)
    verb = "would be applied" if plan else "applied"
    for name in names:
        click.echo(f"{verb}: {name}")
    if not names:
        click.echo("The database is as it should be.")


@main.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(arguments: tuple[str, ...]) -> None:
    """Serve a Dataverse Web API on this machine, for this project or another."""
    from apex_pipeline.emulator.__main__ import main as serve  # noqa: PLC0415  see above

    serve(list(arguments), prog_name="apex emulator")


def _sync(
    config: Mapping[str, object], environment: Mapping[str, str]
) -> tuple["FinishedRun", "RunRecord | None"]:
    """Run the job, and read from the ledger what it did."""
    from apex_pipeline import store  # noqa: PLC0415  see above
    from apex_pipeline.defs.launch import sync_through_dagster  # noqa: PLC0415
    from apex_pipeline.settings import (  # noqa: PLC0415
        dagster_environment,
        load_settings,
    )

    settings = load_settings(environment)
    # Dagster reads its own from the process.
    os.environ.update(dagster_environment(environment))
    run = sync_through_dagster(config, os.environ)
    try:
        with store.connect(settings.database_url, wait_seconds=0) as opened:
            records = opened.last_runs(20)
    except DatabaseError:
        if run.failure is None:
            raise
        # The run's own failure tells the same, and more.
        return run, None
    return run, next((r for r in records if r.dagster_run_id == run.run_id), None)


def _first_sync(environment: Mapping[str, str]) -> str:
    """For `apex up --demo`: the first sync, and its counts in words."""
    os.environ.update(environment)
    run, record = _sync({}, environment)
    return _counts(run, record)


def _counts(run: "FinishedRun", record: "RunRecord | None") -> str:
    lines = [] if run.failure is None else [f"The sync failed: {run.failure}"]
    if record is not None:
        lines.append(
            f"{record.delivered} delivered, {record.rejected} quarantined, "
            f"{record.remaining} remaining; {record.requests} requests, "
            f"throttled for {record.throttled_seconds:.0f} s."
        )
    elif run.failure is None:
        lines.append(f"Nothing was delivered: {run.note}.")
    return "\n".join(lines)


def _outcome(run: "FinishedRun", record: "RunRecord | None") -> dict[str, object]:
    ledger = dataclasses.asdict(record) if record is not None else {}
    return ledger | dataclasses.asdict(run)


def _status_lines(found: "Status") -> list[tuple[str, str]]:
    return [
        (field.name.replace("_", " "), _words(getattr(found, field.name)))
        for field in dataclasses.fields(found)
    ]


def _words(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case _:
            return str(value)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else str(value)
