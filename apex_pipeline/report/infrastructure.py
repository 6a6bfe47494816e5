"""What it runs on, and which variables are set, by name."""

import platform
import sys
from collections.abc import Iterator, Mapping

from apex_pipeline import __version__
from apex_pipeline.postgres import migrations
from apex_pipeline.report.dagster_facts import Orchestration
from apex_pipeline.report.delivery_statistics import read_rows
from apex_pipeline.report.document import Block, Note, Table
from apex_pipeline.report.latencies import count_records
from apex_pipeline.report.measured_lines import instant
from apex_pipeline.report.report_subject import Subject
from apex_pipeline.report.repository import installed_packages
from apex_pipeline.report.schema_reading import read_relations, read_server
from apex_pipeline.settings import VARIABLES, read_variable


def machine(subject: Subject) -> Iterator[Block]:
    """This machine and this process."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Table(
        ("what", "is"),
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
    """What the code location and its instance come to."""
    made = sum(each.is_made for each in found.assets)
    kinds = [each.kind for each in found.automations]
    yield Table(
        ("what", "is"),
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
    """What it is built on.

    Raises:
        ApexError: It is not installed as a package.
    """
    yield Table(("package", "version"), tuple(installed_packages()), "Packages")


def postgres(subject: Subject) -> Iterator[Block]:
    """The database, and what it holds.

    Raises:
        DatabaseError: It does not answer, or lacks our tables.
    """
    with subject.open_database() as database:
        server = read_server(database)
        rows = read_rows(database)
        names = [name for made in migrations.contents().values() for name in made]
        relations = read_relations(database, names)
        address = database.address
    yield Table(
        ("what", "is"),
        (
            ("address", address),
            ("version", f"Postgres {server.version}"),
            ("size of the database", server.database_size),
            ("connection", "TLS" if server.is_encrypted else "not encrypted"),
            ("rows of campaign_metrics", f"{rows.count:,}"),
            ("… exported", f"{rows.exported:,}"),
            ("… pending", f"{rows.pending:,}"),
            ("… the first", f"{instant(rows.first_created_at)} UTC"),
            ("… the last", f"{instant(rows.last_created_at)} UTC"),
        ),
        "Postgres",
    )
    yield Table(
        ("table or view", "kind", "columns", "size", "holds"),
        tuple(
            (each.name, each.kind, str(each.columns), each.size or "", each.comment)
            for each in relations
        ),
        "Tables and views of Postgres",
    )


def dataverse(subject: Subject) -> Iterator[Block]:
    """The environment.

    Raises:
        DataverseError: It does not answer.
        ConfigError: It is not configured.
    """
    settings = subject.dataverse()
    records = count_records(settings, subject.token_cache)
    by = "certificate" if settings.certificate_path else "client secret"
    yield Table(
        ("what", "is"),
        (
            ("environment", settings.resource),
            ("authority", settings.authority),
            ("application", settings.client_id),
            ("signs in by", by),
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
        given: As they were set.
        environment: The same, with what a running `apex up` adds.
    """
    yield Note(
        "Names alone. No value of a secret variable is anywhere in this report; "
        "addresses and ids are in other chapters."
    )
    yield Table(
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
