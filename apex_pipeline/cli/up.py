"""`apex up`."""

import os
import sys
from pathlib import Path

import click

from apex_pipeline.cli.sync import first_sync
from apex_pipeline.local.ports import HOST
from apex_pipeline.local.up import run_up


@click.command()
@click.option(
    "--demo",
    is_flag=True,
    help="Generate 90 days of realistic campaigns and sync them, then keep writing two "
    "or three runs a minute and syncing every minute.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port of the Dagster UI.",
)
@click.option(
    "--host",
    default=HOST,
    show_default=True,
    help="Where the Dagster UI listens. Set APEX_PANEL_TOKEN to listen beyond this "
    "machine; people then sign in once for the panel and the Dagster UI.",
)
@click.option(
    "--tenants",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Run every tenant that this file lists, on one Dagster instance.",
)
def up(*, demo: bool, port: int, host: str, tenants: Path | None) -> None:
    """Run everything on this machine until Ctrl-C.

    Starts Dagster and a Postgres for its storage. If you have not configured the real
    ones, it also starts a Postgres for the metrics and a Dataverse emulator. The data
    stays in .apex (APEX_STATE_DIR) for the next start.
    """
    sys.exit(
        run_up(
            os.environ,
            demo=demo,
            port=port,
            host=host,
            first_sync=first_sync,
            tenants=tenants and tenants.absolute(),
        )
    )
