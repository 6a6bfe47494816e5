"""`apex webserver`."""

import os
from pathlib import Path

import click

from apex_pipeline.cli.terminal import announce
from apex_pipeline.defs.operations.dagster_ui import behind_the_gate, dagster_ui
from apex_pipeline.settings import ended_sessions_file, load_panel_settings
from apex_pipeline.web_gate.serving import listen, serve

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=3000,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "-w",
    "--workspace",
    type=_FILE,
    multiple=True,
    default=("workspace.yaml",),
    show_default=True,
    help="Workspace file that lists the code locations; may be repeated.",
)
@click.option("--read-only", is_flag=True, help="Allow no changes in the UI.")
@click.option("--secret-file", type=_FILE, hidden=True)
@click.option("--fd", type=int, hidden=True)
def webserver(
    *,
    host: str,
    port: int,
    workspace: tuple[Path, ...],
    read_only: bool,
    secret_file: Path | None,
    fd: int | None,
) -> None:
    """Serve the Dagster UI with the panel's access control until Ctrl-C.

    To listen beyond this machine, set APEX_PANEL_TOKEN. One sign-in then covers the
    panel and the Dagster UI.
    """
    settings = load_panel_settings(os.environ, host=host, port=port)
    own = secret_file.read_text().strip() if secret_file else None
    ended = ended_sessions_file(os.environ)
    with dagster_ui(workspace, read_only=read_only) as ui:
        serve(
            behind_the_gate(ui, settings, own_secret=own, ended_sessions=ended),
            listen(settings, fd),
            listening=lambda: announce(f"The Dagster UI is at {settings.url}"),
            ws="websockets-sansio",
        )
