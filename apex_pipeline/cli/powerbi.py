"""`apex powerbi`: the Power BI project in git."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from apex_pipeline.cli.terminal import say
from apex_pipeline.errors import ConfigError
from apex_pipeline.powerbi.checks import NOT_CHECKED, check_project
from apex_pipeline.powerbi.project import write_project
from apex_pipeline.powerbi.utc_offsets import utc_changes
from apex_pipeline.settings import load_analysis_settings

_YEARS_AHEAD = 10

_FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="powerbi",
    show_default=True,
    help="Folder of the project.",
)


@click.group()
def powerbi() -> None:
    """Generate and check the Power BI project."""


@powerbi.command()
@_FOLDER
def build(folder: Path) -> None:
    """Write the project: semantic model, report and theme.

    Files that differ are replaced, and files that are no longer generated are removed.
    Exit 0: written; 1: failed.
    """
    changed = write_project(folder)
    for path in changed:
        say(path)
    say(f"{len(changed)} files changed.")


@powerbi.command()
@_FOLDER
@click.option(
    "--npm", is_flag=True, help="Also run Microsoft's tools, which npm fetches."
)
def check(folder: Path, *, npm: bool) -> None:
    """Run all checks that need no Power BI, and name what they cannot check.

    Exit 0: all checks that could be made passed; 1: at least one failed.
    """
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder}. Run `apex powerbi build`.")
    failed = False
    for checked in check_project(folder, with_npm=npm):
        failed |= checked.state == "failed"
        say(f"{checked.state:<8} {checked.name}")
        for problem in checked.problems:
            say(f"         {problem}")
    say("Not checked: " + "; ".join(NOT_CHECKED) + ".")
    sys.exit(1 if failed else 0)


@powerbi.command("time-zone")
def time_zone() -> None:
    """Print the value of the parameter BusinessTimeZone for APEX_TIME_ZONE.

    Power Query knows no time zones by name. The value lists when the clock changes, from
    the first day of the rollups to ten years from now. Exit 2: APEX_TIME_ZONE is wrong.
    """
    settings = load_analysis_settings(os.environ)
    until = datetime.now(UTC).year + _YEARS_AHEAD
    say(utc_changes(settings.time_zone, settings.first_label.year, until))
