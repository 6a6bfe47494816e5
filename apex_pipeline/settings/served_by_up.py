"""The services of a running `apex up`, in place of `embedded` and `emulator`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.application_users_file import CLIENTS_FILE
from apex_pipeline.settings.credentials import PROOFS
from apex_pipeline.settings.folders import state_dir
from apex_pipeline.settings.variable_reading import read_variable, with_secrets

EMBEDDED = "embedded"
EMULATOR = "emulator"

_DATAVERSE_VARIABLES = {
    "DATAVERSE_RESOURCE",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_AUTHORITY_HOST",
    "APEX_CA_BUNDLE",
}
PAGES = ("APEX_DAGSTER_URL", "APEX_PANEL_HOST", "APEX_PANEL_PORT")
"""Variables of the addresses that you open in a browser; `apex up` sets them."""


def local_file(state: Path) -> Path:
    """File with the addresses of the services of a running `apex up`."""
    return state / "local.json"


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
        raise ConfigError(_not_running(environment))
    names = {"DATABASE_URL"} if local_database else set()
    if local_dataverse:
        names |= _DATAVERSE_VARIABLES
        for name in (*PROOFS, CLIENTS_FILE):
            resolved.pop(name, None)
    return resolved | {name: served[name] for name in names}


def _not_running(environment: Mapping[str, str]) -> str:
    ends = {"DATABASE_URL": EMBEDDED, "DATAVERSE_RESOURCE": EMULATOR}
    asked = [
        f"{name}={local}"
        for name, local in ends.items()
        if read_variable(environment, name) == local
    ]
    if not asked:
        return (
            "The local services are not running. Start them with `apex up`, or set "
            "DATABASE_URL and DATAVERSE_RESOURCE for the real ones."
        )
    return (
        f"{' and '.join(asked)} asks for a service of `apex up`, which is not running. "
        "Start it with `apex up`, or set the address of a real one."
    )


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
