"""`apex panel`."""

import os

import click

from apex_pipeline.cli.terminal import announce
from apex_pipeline.panel.app import make_app
from apex_pipeline.panel.cached_sources import Sources
from apex_pipeline.settings import (
    ended_sessions_file,
    load_analysis_settings,
    load_panel_settings,
)
from apex_pipeline.web_gate.serving import listen, serve


@click.command()
@click.option(
    "--host", help="Address to listen on.  [default: APEX_PANEL_HOST, 127.0.0.1]"
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen on.  [default: APEX_PANEL_PORT, 3100]",
)
@click.option("--fd", type=int, hidden=True)
def panel(*, host: str | None, port: int | None, fd: int | None) -> None:
    """Serve the KPI panel and its API until Ctrl-C.

    To listen beyond this machine, set APEX_PANEL_TOKEN; visitors sign in with it. The
    panel connects to Postgres and Dataverse on the first visit. If one is missing or
    down, the page says so.
    """
    settings = load_panel_settings(os.environ, host=host, port=port)
    load_analysis_settings(os.environ)
    app = make_app(
        settings,
        Sources(os.environ),
        ended_sessions=ended_sessions_file(os.environ),
    )
    serve(
        app,
        listen(settings, fd),
        listening=lambda: announce(f"The panel is at {settings.url}"),
    )
