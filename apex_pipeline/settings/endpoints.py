"""Settings of the two ends, Postgres and Dataverse, and of the local state."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.application_users import CLIENTS_FILE, read_clients
from apex_pipeline.settings.credentials import (
    PROOFS,
    Credential,
    existing_file,
    read_credential,
)
from apex_pipeline.settings.origins import read_https_origin
from apex_pipeline.settings.postgres_url import read_postgres_url, write_postgres_url
from apex_pipeline.settings.tenant import load_tenant
from apex_pipeline.settings.variables import read_variable, with_secrets

EMBEDDED = "embedded"
EMULATOR = "emulator"
PUBLIC_AUTHORITY = "https://login.microsoftonline.com"

_DATAVERSE_VARIABLES = {
    "DATAVERSE_RESOURCE",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_AUTHORITY_HOST",
    "APEX_CA_BUNDLE",
}
_CLIENT = ("AZURE_CLIENT_ID", *PROOFS)
_EXAMPLES = {
    "DATAVERSE_RESOURCE": "https://ORG.crm.dynamics.com",
    "AZURE_AUTHORITY_HOST": PUBLIC_AUTHORITY,
}
# Shared endpoints for user accounts; an application gets no token there.
_SHARED_TENANTS = {"common", "organizations", "consumers"}
PAGES = ("APEX_DAGSTER_URL", "APEX_PANEL_HOST", "APEX_PANEL_PORT")
"""Variables of the addresses that you open in a browser; `apex up` sets them."""

_TOKEN_CACHE = "token_cache.json"  # noqa: S105  a file's name
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
        return self.state_dir / _TOKEN_CACHE


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


def state_dir(environment: Mapping[str, str]) -> Path:
    """Absolute path of the local state folder; a tenant has its own in the shared one.

    Raises:
        ConfigError: APEX_TENANT is malformed.
    """
    return load_tenant(environment).folder(state_root(environment))


def state_root(environment: Mapping[str, str]) -> Path:
    """Absolute path of the state folder that tenants share."""
    configured = read_variable(environment, "APEX_STATE_DIR")
    return (Path(configured) if configured else project_dir() / ".apex").absolute()


def record_dir(environment: Mapping[str, str]) -> Path:
    """Folder below which the launchpad may read and write files of records, absolute."""
    configured = read_variable(environment, "APEX_RECORD_DIR")
    if configured:
        folder = Path(configured).expanduser().absolute()
        return load_tenant(environment).folder(folder)
    return state_dir(environment) / "inbox"


def token_cache_path(environment: Mapping[str, str]) -> Path:
    """Same as `Settings.token_cache_path`, without loading the other settings."""
    return state_dir(environment) / _TOKEN_CACHE


def project_dir() -> Path:
    """The checkout that contains this package, or else the current folder."""
    checkout = Path(__file__).parents[2]
    return checkout if (checkout / "workspace.yaml").is_file() else Path.cwd()


def local_file(state: Path) -> Path:
    """File with the addresses of the services of a running `apex up`."""
    return state / "local.json"


def ended_sessions_file(environment: Mapping[str, str]) -> Path:
    """File of the sessions that were signed out of at the panel or the Dagster UI.

    All tenants share it, because one sign-in may open the panels of several.
    """
    return state_root(environment) / "ended-sessions"


def wants_local(environment: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether to use the local database, and whether to use the local emulator.

    Raises:
        ConfigError: Only one of the two ends is set. Production rows must never be
            marked because an emulator accepted them.
    """
    database = read_variable(environment, "DATABASE_URL")
    resource = read_variable(environment, "DATAVERSE_RESOURCE")
    if bool(database) != bool(resource):
        present, absent, local = (
            ("DATABASE_URL", "DATAVERSE_RESOURCE", EMULATOR)
            if database
            else ("DATAVERSE_RESOURCE", "DATABASE_URL", EMBEDDED)
        )
        raise ConfigError(
            f"{present} is set but {absent} is not. Set both to use the real services, "
            f"neither to use local ones, or {absent}={local} to mix them on purpose."
        )
    return database in ("", EMBEDDED), resource in ("", EMULATOR)


def resolve_local(environment: Mapping[str, str]) -> dict[str, str]:
    """Replace `embedded` and `emulator` with the variables of the running `apex up`.

    Raises:
        ConfigError: A local service is configured but `apex up` is not running.
    """
    local_database, local_dataverse = wants_local(environment)
    resolved = with_secrets(environment)
    if not (local_database or local_dataverse):
        return resolved
    served = _served(environment)
    if served is None:
        raise ConfigError(
            "The local services are not running. Start them with `apex up`, or set "
            "DATABASE_URL and DATAVERSE_RESOURCE for the real ones."
        )
    names = {"DATABASE_URL"} if local_database else set()
    if local_dataverse:
        names |= _DATAVERSE_VARIABLES
        for name in (*PROOFS, CLIENTS_FILE):
            resolved.pop(name, None)
    return resolved | {name: served[name] for name in names}


def dagster_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """DAGSTER_* variables of a running `apex up` that serves the same two ends.

    Empty if the environment sets DAGSTER_HOME itself, or if no `apex up` is running.
    """
    if read_variable(environment, "DAGSTER_HOME"):
        return {}
    return _of_same_ends(environment, "DAGSTER_HOME", "DAGSTER_POSTGRES_URL")


def served_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """Addresses of the panel and the Dagster UI of an `apex up` with the same two ends.

    Empty if none is running.
    """
    return _of_same_ends(environment, *PAGES)


def _of_same_ends(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """Variables of a running `apex up`, if it serves the same two ends."""
    served = _served(environment)
    if served is None:
        return {}
    resolved = resolve_local(environment)
    if any(
        read_variable(resolved, name) != read_variable(served, name)
        for name in ("DATABASE_URL", "DATAVERSE_RESOURCE")
    ):
        return {}
    return {name: served[name] for name in names if name in served}


def _served(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Variables that a running `apex up` has stored; None if none is running."""
    try:
        served = json.loads(local_file(state_dir(environment)).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ConfigError(
            f"{local_file(state_dir(environment))} is damaged. Restart `apex up`."
        ) from None
    if not _is_alive(int(served.get("PID", 0))):
        return None
    return {str(name): str(value) for name, value in served.items()}


def _is_alive(pid: int) -> bool:
    """Whether a process with this id exists, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


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
