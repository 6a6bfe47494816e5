"""Where each tenant reads and delivers, and whether two do so in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.code_location_name import load_code_location
from apex_pipeline.settings.endpoints import load_database_url, load_dataverse
from apex_pipeline.settings.postgres_url import read_postgres_url, shown_address
from apex_pipeline.settings.problems import find_mistakes
from apex_pipeline.settings.tenants_file import TenantSource, tenant_environment


@dataclass(frozen=True, slots=True)
class TenantEnds:
    """A tenant's two ends; empty where unknown.

    Attributes:
        path: Where its variables are.
        location: Its code location.
        database: Address of its database, without the password.
        problems: What is wrong with its configuration.
    """

    name: str
    path: Path
    location: str = ""
    database: str = ""
    dataverse: str = ""
    problems: tuple[str, ...] = ()


def read_ends(
    environment: Mapping[str, str], sources: Sequence[TenantSource]
) -> tuple[TenantEnds, ...]:
    """Read the configuration of every tenant, and compare them."""
    return compare([_of_one(environment, source) for source in sources])


def compare(found: Sequence[TenantEnds]) -> tuple[TenantEnds, ...]:
    """Add to each tenant's problems what it has in common with another, and must not."""
    return tuple(
        replace(each, problems=(*each.problems, *_shared(each, found)))
        for each in found
    )


def ends_of(name: str, path: Path, environment: Mapping[str, str]) -> TenantEnds:
    """The ends of a tenant by its own variables."""
    return TenantEnds(
        name,
        path,
        load_code_location(environment),
        _database(environment),
        _dataverse(environment),
        find_mistakes(environment),
    )


def _of_one(environment: Mapping[str, str], source: TenantSource) -> TenantEnds:
    try:
        own = tenant_environment(environment, source)
    except ConfigError as error:
        return TenantEnds(source.name, source.path, problems=tuple(error.problems))
    return ends_of(source.name, source.path, own)


def _database(environment: Mapping[str, str]) -> str:
    try:
        return shown_address(read_postgres_url(load_database_url(environment), ""))
    except ConfigError:
        return ""


def _dataverse(environment: Mapping[str, str]) -> str:
    try:
        return load_dataverse(environment).resource
    except ConfigError:
        return ""


def _shared(one: TenantEnds, found: Sequence[TenantEnds]) -> list[str]:
    return [
        f"It has the same {what} as {other.name}: {mine}. Give each tenant its own."
        for other in found
        if other.name != one.name
        for what, mine, theirs in (
            ("database", one.database, other.database),
            ("Dataverse environment", one.dataverse, other.dataverse),
            ("code location", one.location, other.location),
        )
        if mine and mine == theirs
    ]
