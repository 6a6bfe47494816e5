"""The machine, the databases, and the names of the variables that are set."""

import platform
import sys
from collections.abc import Iterator, Mapping

from apex_pipeline import __version__
from apex_pipeline.postgres import migrations
from apex_pipeline.report.dagster_facts import Orchestration
from apex_pipeline.report.delivery_statistics import read_rows
from apex_pipeline.report.document import Block, Note, ReportTable
from apex_pipeline.report.latencies import count_records
from apex_pipeline.report.measured_lines import instant
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.repository import installed_packages
from apex_pipeline.report.schema_reading import read_relations, read_server
from apex_pipeline.settings import VARIABLES, read_variable


def machine(subject: Subject) -> Iterator[Block]:
    """This machine and this process."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield ReportTable(
        ("property", "value"),
        (
            ("apex_pipeline", __version__),
            ("Python", f"{platform.python_version()} ({sys.executable})"),
            ("operating system", system),
            ("host", platform.node()),
            ("state folder", str(subject.state)),
        ),
        "This machine",
    )


def dagster(found: Orchestration) -> Iterator[Block]:
    """The size of the code location, and its instance."""
    made = sum(each.is_made for each in found.assets)
    kinds = [each.kind for each in found.automations]
    yield ReportTable(
        ("property", "value"),
        (
            ("storage", found.instance or "no instance is configured here"),
            ("assets", f"{made}, with {len(found.checks)} checks"),
            ("jobs", str(len(found.jobs))),
            ("schedules", str(kinds.count("schedule"))),
            ("sensors", str(kinds.count("sensor"))),
        ),
        "Dagster",
    )


def packages() -> Iterator[Block]:
    """The installed packages that the pipeline depends on.

    Raises:
        ApexError: The pipeline is not installed as a package.
    """
    yield ReportTable(("package", "version"), tuple(installed_packages()), "Packages")


def postgres(subject: Subject) -> Iterator[Block]:
    """The database and its contents.

    Raises:
        DatabaseError: Postgres does not answer, or lacks the pipeline's tables.
    """
    with subject.open_database() as database:
        server = read_server(database)
        rows = read_rows(database)
        names = [name for made in migrations.contents().values() for name in made]
        relations = read_relations(database, names)
        address = database.address
    yield ReportTable(
        ("property", "value"),
        (
            ("address", address),
            ("version", f"Postgres {server.version}"),
            ("size of the database", server.database_size),
            ("connection", "TLS" if server.is_encrypted else "not encrypted"),
            ("rows of campaign_metrics", f"{rows.count:,}"),
            ("… exported", f"{rows.exported:,}"),
            ("… pending", f"{rows.pending:,}"),
            ("… oldest", f"{instant(rows.first_created_at)} UTC"),
            ("… newest", f"{instant(rows.last_created_at)} UTC"),
        ),
        "Postgres",
    )
    yield ReportTable(
        ("table or view", "kind", "columns", "size", "contents"),
        tuple(
            (each.name, each.kind, str(each.columns), each.size or "", each.comment)
            for each in relations
        ),
        "Tables and views of Postgres",
    )


def dataverse(subject: Subject) -> Iterator[Block]:
    """The Dataverse environment.

    Raises:
        DataverseError: Dataverse does not answer.
        ConfigError: Dataverse is not configured.
    """
    settings = subject.dataverse()
    records = count_records(settings, subject.token_cache)
    yield ReportTable(
        ("property", "value"),
        (
            ("environment", settings.resource),
            ("authority", settings.authority),
            ("application", settings.client_id),
            ("credential", settings.proof),
            (
                "records of apex_campaignmetrics",
                "more than 50,000" if records is None else f"{records:,}",
            ),
        ),
        "Dataverse",
    )


def variables(
    given: Mapping[str, str], environment: Mapping[str, str]
) -> Iterator[Block]:
    """Every variable, and whether it is set.

    Args:
        given: The variables as set by the user.
        environment: The same plus the variables that a running `apex up` adds.
    """
    yield Note(
        "Names only. This report contains no value of a secret variable; addresses and "
        "ids are in other chapters."
    )
    yield ReportTable(
        ("variable", "part", "secret", "set"),
        tuple(
            (
                each.name,
                each.part,
                "secret" if each.is_secret else "",
                _source(each.name, given, environment),
            )
            for each in VARIABLES
        ),
    )


def _source(name: str, given: Mapping[str, str], environment: Mapping[str, str]) -> str:
    if given.get(name):
        return "yes"
    return "by `apex up`" if read_variable(environment, name) else "no"
