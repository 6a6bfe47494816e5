"""`apex report`."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from apex_pipeline.cli.doctor import look_at_dagster
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.commands import SUMMARIES
from apex_pipeline.report.composing import ReportOptions, compose
from apex_pipeline.report.dagster_facts import Orchestration
from apex_pipeline.report.document import counts_in_words
from apex_pipeline.report.report_files import default_path, write
from apex_pipeline.report.report_subject import Readers
from apex_pipeline.settings import dagster_environment, state_dir

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option("--html", is_flag=True, help="One HTML file with the pictures embedded.")
@click.option(
    "-o",
    "--output",
    type=_FILE,
    metavar="FILE",
    help="File to write.  [default: reports/completion-DATE-TIME in APEX_STATE_DIR]",
)
@click.option(
    "--junit-xml",
    type=_FILE,
    metavar="FILE",
    help="Test results that `pytest --junit-xml` wrote.  [default: test-results.xml in "
    "APEX_STATE_DIR]",
)
@click.option(
    "--screenshots/--no-screenshots",
    default=True,
    show_default=True,
    help="Include screenshots of the panel and the Dagster UI, if Chromium is installed.",
)
def report(
    *, html: bool, output: Path | None, junit_xml: Path | None, screenshots: bool
) -> None:
    """Measure the live system and write the completion report.

    Writes Markdown with the pictures beside it, or with --html one file to send or
    print. It takes half a minute, changes nothing and contains no secrets. A
    measurement that fails is listed with the reason. FILE appears once it is complete.

    Exit 0: written, whatever the findings; 1: could not be written; 2: the
    configuration names neither Postgres nor Dataverse, so there is nothing to report.
    """
    given = dict(os.environ)
    # Dagster reads its variables from the process.
    os.environ.update(dagster_environment(given))
    with waiting("Measuring …") as tell:
        readers = Readers(look_at_dagster, _read_orchestration, SUMMARIES, tell=tell)
        made = compose(given, readers, ReportOptions(junit_xml, screenshots))
    path = output or default_path(made, state_dir(given), html=html)
    write(made, path.absolute(), html=html)
    say(f"{path}: {counts_in_words(made)}")


def _read_orchestration(environment: Mapping[str, str]) -> Orchestration:
    """Dagster is loaded here, when what may be slowed down by it is measured."""
    from apex_pipeline.definitions import defs  # noqa: PLC0415  slow
    from apex_pipeline.defs.operations import report_reading  # noqa: PLC0415  slow

    return report_reading.read_orchestration(defs(), environment)
