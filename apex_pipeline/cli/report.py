"""`apex report`."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from apex_pipeline.analytics.csv.export_stores import LocalStore
from apex_pipeline.analytics.csv.local_files import require_folder_of
from apex_pipeline.cli.command_line import takes
from apex_pipeline.cli.doctor import look_at_dagster
from apex_pipeline.cli.output import waiting
from apex_pipeline.cli.terminal import say
from apex_pipeline.flags_and_launchpad_forms.command_list import SUMMARIES
from apex_pipeline.flags_and_launchpad_forms.inspection_forms import ReportForm
from apex_pipeline.report.composing import ReportOptions, compose
from apex_pipeline.report.dagster_facts import Orchestration
from apex_pipeline.report.document import counts_in_words
from apex_pipeline.report.report_files import default_name, default_store, write
from apex_pipeline.report.report_subject import Readers
from apex_pipeline.settings import dagster_environment


@click.command()
@takes(ReportForm)
def report(*, form: ReportForm) -> None:
    """Measure the live system and write the completion report.

    Writes Markdown with the pictures beside it, or with --html one file to send or
    print. It takes half a minute, changes nothing and contains no secrets. A
    measurement that fails is listed with the reason. FILE appears once it is complete.

    Exit 0: written, whatever the findings; 1: could not be written; 2: the
    configuration names neither Postgres nor Dataverse, so there is nothing to report.
    """
    if form.output:
        require_folder_of(Path(form.output))
    results = Path(form.junit_xml) if form.junit_xml else None
    given = dict(os.environ)
    # Dagster reads its variables from the process.
    os.environ.update(dagster_environment(given))
    with waiting("Measuring …") as tell:
        readers = Readers(look_at_dagster, _read_orchestration, SUMMARIES, tell=tell)
        made = compose(given, readers, ReportOptions(results, form.screenshots))
    if form.output:
        path = Path(form.output)
        write(made, LocalStore(path.absolute().parent), path.name, html=form.html)
        place = form.output
    else:
        name = default_name(made, html=form.html)
        place = write(made, default_store(given), name, html=form.html).place
    say(f"{place}: {counts_in_words(made)}")


def _read_orchestration(environment: Mapping[str, str]) -> Orchestration:
    """Dagster is loaded here, when what may be slowed down by it is measured."""
    from apex_pipeline.definitions import defs  # noqa: PLC0415  slow
    from apex_pipeline.defs.operations import report_reading  # noqa: PLC0415  slow

    return report_reading.read_orchestration(defs(), environment)
