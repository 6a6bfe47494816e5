"""Settings of the two ends, Postgres and Dataverse, and of the local state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.application_users_file import CLIENTS_FILE, read_clients
from apex_pipeline.settings.credentials import (
    PROOFS,
    Credential,
    existing_file,
    read_credential,
)
from apex_pipeline.settings.folders import TOKEN_CACHE_NAME, state_dir
from apex_pipeline.settings.origins import read_https_origin
from apex_pipeline.settings.postgres_url import read_postgres_url, write_postgres_url
from apex_pipeline.settings.served_by_up import EMBEDDED, EMULATOR, resolve_local
from apex_pipeline.settings.variable_reading import read_variable, with_secrets

PUBLIC_AUTHORITY = "https://login.microsoftonline.com"
STORAGE_VARIABLE = "DAGSTER_POSTGRES_URL"
_CLIENT = ("AZURE_CLIENT_ID", *PROOFS)
_EXAMPLES = {
    "DATAVERSE_RESOURCE": "https://ORG.crm.dynamics.com",
    "AZURE_AUTHORITY_HOST": PUBLIC_AUTHORITY,
}
# Shared endpoints for user accounts; an application gets no token there.
_SHARED_TENANTS = {"common", "organizations", "consumers"}
_TENANT = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataverseSettings(Credential):
    """The application that signs in, and the address of its environment.

    Attributes:
        resource: `https://host[:port]`, without a trailing slash.
        authority: `https://host[:port]/tenant`.
        ca_bundle: PEM file trusted besides the system's certificates.
        others: Further application users, which share the sync's work.
    """

    resource: str
    authority: str
    ca_bundle: Path | None = None
    others: tuple[Credential, ...] = ()

    @property
    def users(self) -> tuple["DataverseSettings", ...]:
        """The settings of each application user by itself, this one first."""
        first = replace(self, others=())
        return (first, *(replace(first, **other.parts()) for other in self.others))


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of both ends and the state folder."""

    database_url: str = field(repr=False)
    dataverse: DataverseSettings
    state_dir: Path

    @property
    def token_cache_path(self) -> Path:
        """File through which all processes share access tokens."""
        return self.state_dir / TOKEN_CACHE_NAME


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings, with the addresses of local services from `apex up`.

    Raises:
        ConfigError: A variable is missing, malformed or contradicts another. Lists all
            problems.
    """
    problems: list[str] = []
    resolved = resolve_local(environment)
    database_url = _database_url(read_variable(resolved, "DATABASE_URL"), problems)
    dataverse = _dataverse(resolved, problems)
    if problems or database_url is None or dataverse is None:
        raise ConfigError(*problems)
    return Settings(database_url, dataverse, state_dir(environment))


def load_database_url(environment: Mapping[str, str]) -> str:
    """Read only the database's URL, for code that does not need Dataverse.

    Raises:
        ConfigError: The URL is malformed, or the local database is not running.
    """
    given = read_variable(environment, "DATABASE_URL")
    if given in ("", EMBEDDED):
        ends = {"DATABASE_URL": EMBEDDED, "DATAVERSE_RESOURCE": EMULATOR}
        given = read_variable(
            resolve_local(with_secrets(environment) | ends), "DATABASE_URL"
        )
    problems: list[str] = []
    url = _database_url(given, problems)
    if url is None:
        raise ConfigError(*problems)
    return url


def load_storage_parameters(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Read where Dagster's storage is, by libpq's names; None if that is not set.

    Raises:
        ConfigError: DAGSTER_POSTGRES_URL is malformed.
    """
    given = read_variable(environment, STORAGE_VARIABLE)
    return read_postgres_url(given, STORAGE_VARIABLE) if given else None


def load_dataverse(environment: Mapping[str, str]) -> DataverseSettings:
    """Read only Dataverse's settings, for code that does not need the database.

    Raises:
        ConfigError: The settings are incomplete, or the local emulator is not running.
    """
    resolved = resolve_local(environment)
    problems: list[str] = []
    dataverse = _dataverse(resolved, problems)
    if dataverse is None:
        raise ConfigError(*problems)
    return dataverse


def _database_url(text: str, problems: list[str]) -> str | None:
    """Normalise the URL to name our driver, psycopg 3."""
    try:
        return write_postgres_url(read_postgres_url(text, "DATABASE_URL"))
    except ConfigError as error:
        problems += error.problems
        return None


def _dataverse(
    environment: Mapping[str, str], problems: list[str]
) -> DataverseSettings | None:
    found = len(problems)
    resource = _origin("DATAVERSE_RESOURCE", environment, problems)
    host = _origin("AZURE_AUTHORITY_HOST", environment, problems)
    tenant = read_tenant("AZURE_TENANT_ID", environment, problems)
    users = _users(environment, problems)
    ca_bundle = existing_file("APEX_CA_BUNDLE", environment, problems)
    if len(problems) > found:
        return None
    first, *others = users
    return DataverseSettings(
        **first.parts(),
        resource=resource,
        authority=f"{host}/{tenant}",
        ca_bundle=ca_bundle,
        others=tuple(others),
    )


def _users(
    environment: Mapping[str, str], problems: list[str]
) -> tuple[Credential, ...]:
    """The application users; empty if there are problems."""
    if not read_variable(environment, CLIENTS_FILE):
        only = read_credential(environment, problems)
        return () if only is None else (only,)
    if both := [name for name in _CLIENT if read_variable(environment, name)]:
        problems.append(
            f"{CLIENTS_FILE} replaces {' and '.join(both)}: move that application into "
            f"the file and unset {'it' if len(both) == 1 else 'them'}."
        )
    try:
        return read_clients(environment)
    except ConfigError as error:
        problems += error.problems
        return ()


def read_tenant(name: str, environment: Mapping[str, str], problems: list[str]) -> str:
    """Read the directory (tenant) in which the application is registered."""
    tenant = read_variable(environment, name)
    if tenant.lower() in _SHARED_TENANTS:
        problems.append(
            f"{name} is {tenant}, which gives applications no token. Set it to the "
            "directory (tenant) id from the application's overview page in Entra."
        )
    elif not _TENANT.fullmatch(tenant):
        problems.append(
            f"{name} must be the directory (tenant) id or one of its domains."
        )
    return tenant


def _origin(name: str, environment: Mapping[str, str], problems: list[str]) -> str:
    example = _EXAMPLES[name]
    text = read_variable(environment, name)
    if not text and name == "AZURE_AUTHORITY_HOST":
        return PUBLIC_AUTHORITY
    try:
        return read_https_origin(name, text, example)
    except ConfigError as error:
        problems += error.problems
        return ""
