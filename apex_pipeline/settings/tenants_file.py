"""The file of tenants: where each one's variables are.

    [tenants]
    acme = "acme.env"          # a file of variables, like .env
    globex = "secrets/globex"  # a folder of files named after the variables that they hold

Paths are relative to the file. What a tenant's own variables do not say is unset, but for
the few that all tenants of an instance share: no secret of one reaches another.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.named_paths import path_of_file
from apex_pipeline.settings.tenant import TENANT_VARIABLE, parse_tenant
from apex_pipeline.settings.variable_reading import (
    FILE_SUFFIX,
    read_secret_file,
    read_variable,
)
from apex_pipeline.settings.variables import VARIABLES

TENANTS_VARIABLE = "APEX_TENANTS_FILE"
_DEFAULT = "tenants.toml"

SHARED = (
    *("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "APEX_DAGSTER_URL", "APEX_STATE_DIR"),
    *("APEX_ACTOR", "APEX_LOG_FORMAT", TENANTS_VARIABLE),
)
"""Variables that tenants inherit."""

_OF_INSTANCE = ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "APEX_STATE_DIR")

_OF_ONE = {variable.name for variable in VARIABLES} - {*SHARED} | {
    "DAGSTER_LOCATION_NAME"
}


@dataclass(frozen=True, slots=True)
class TenantSource:
    """A tenant, and the file or folder of its variables."""

    name: str
    path: Path


def tenants_file(environment: Mapping[str, str]) -> Path:
    """The file of tenants: the variable's, else `tenants.toml`.

    Raises:
        ConfigError: The variable holds no path.
    """
    named = read_variable(environment, TENANTS_VARIABLE) or _DEFAULT
    return path_of_file(TENANTS_VARIABLE, named)


def read_tenants(path: Path) -> tuple[TenantSource, ...]:
    """Read the file of tenants.

    Raises:
        ConfigError: It is missing or malformed, or something that it names is missing.
            Lists all problems.
    """
    named = _read_names(path)
    problems: list[str] = []
    found: dict[Path, str] = {}
    for name, text in named.items():
        try:
            parse_tenant(name, str(path))
            source = _source(path, name, text)
        except ConfigError as error:
            problems += error.problems
            continue
        if not source.exists():
            problems.append(f"{path}: {name} names {source}, which does not exist.")
        elif source in found:
            problems.append(
                f"{path}: {found[source]} and {name} both name {source}. Give each "
                "tenant variables of its own."
            )
        found.setdefault(source, name)
    if problems:
        raise ConfigError(*problems)
    return tuple(TenantSource(name, source) for source, name in found.items())


def _source(path: Path, name: str, text: str) -> Path:
    try:
        return path_of_file(f"{path}: {name}", text, path.parent).resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path}: {name} names no file: {error}.") from None


def find_tenant(path: Path, name: str) -> TenantSource:
    """One tenant of the file.

    Raises:
        ConfigError: As by `read_tenants`, or the file does not name this tenant.
    """
    sources = read_tenants(path)
    for source in sources:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in sources)
    raise ConfigError(f"{path} names no tenant {name!r}. It names: {known}.")


def tenant_environment(
    environment: Mapping[str, str], source: TenantSource
) -> dict[str, str]:
    """All variables of a tenant's processes.

    Raises:
        ConfigError: The file or folder cannot be read, or is another tenant's.
    """
    own = _of_folder(source.path) if source.path.is_dir() else _of_file(source.path)
    if own.get(TENANT_VARIABLE, source.name) != source.name:
        raise ConfigError(
            f"{source.path} says {TENANT_VARIABLE}={own[TENANT_VARIABLE]}, but the file "
            f"of tenants calls it {source.name}."
        )
    inherited = {
        name: value for name, value in environment.items() if not _is_of_one(name)
    }
    return inherited | own | {TENANT_VARIABLE: source.name}


def tenant_environments(
    environment: Mapping[str, str], path: Path | None
) -> list[dict[str, str]]:
    """The variables of each tenant of one Dagster instance.

    Without a file, the given ones, of the one pipeline.

    Raises:
        ConfigError: As by `read_tenants` and `tenant_environment`, or a tenant sets what
            belongs to the instance.
    """
    if path is None:
        return [dict(environment)]
    if read_variable(environment, TENANT_VARIABLE):
        raise ConfigError(
            f"{TENANT_VARIABLE} names one tenant, and {path} several. Unset it."
        )
    found, problems = [], []
    for source in read_tenants(path):
        own = tenant_environment(environment, source)
        problems += [
            f"{source.path} sets {name}, which is the same for all tenants of an "
            "instance. Set it outside."
            for name in _OF_INSTANCE
            if own.get(name) != environment.get(name)
        ]
        found.append(own)
    if problems:
        raise ConfigError(*problems)
    return found


def _is_of_one(name: str) -> bool:
    # libpq takes what is missing in a URL from the PG variables.
    return bool({name, name.removesuffix(FILE_SUFFIX)} & _OF_ONE) or name[:2] == "PG"


def _read_names(path: Path) -> dict[str, str]:
    example = f'It needs a table [tenants] of lines like acme = "acme.env": {path}.'
    try:
        loaded: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"The file of tenants, {path}, cannot be read: {error.strerror}. Name it in "
            f"{TENANTS_VARIABLE} or with --tenants."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None
    named = loaded.get("tenants")
    if set(loaded) != {"tenants"} or not isinstance(named, dict) or not named:
        raise ConfigError(example)
    if wrong := [name for name, text in named.items() if not isinstance(text, str)]:
        raise ConfigError(f"{example} {wrong[0]} is no path.")
    return named


def _of_file(path: Path) -> dict[str, str]:
    try:
        # No `${NAME}` of the caller's environment, which may be another tenant's.
        found = dotenv_values(path, encoding="utf-8-sig", interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}.") from None
    # UTF-16 without a byte order mark is valid UTF-8, if all of it is ASCII.
    if any("\0" in f"{name}{value}" for name, value in found.items()):
        raise ConfigError(f"{path} cannot be read as UTF-8 text: it is UTF-16.")
    return {name: value for name, value in found.items() if value and value.strip()}


def _of_folder(folder: Path) -> dict[str, str]:
    known = {variable.name for variable in VARIABLES}
    found = {}
    # Clusters mount secrets behind names that begin with a dot.
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        name = path.name.upper().replace("-", "_")
        if name not in known:
            raise ConfigError(
                f"{path} is not named after a variable, such as DATABASE_URL."
            )
        found[name] = read_secret_file(name, path)
    return found
