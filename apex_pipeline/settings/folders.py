"""Folders and files of this machine: the state, the records, the token cache."""

from collections.abc import Mapping
from pathlib import Path

from apex_pipeline.settings.named_paths import path_of_folder
from apex_pipeline.settings.tenant import load_tenant
from apex_pipeline.settings.variable_reading import read_variable

TOKEN_CACHE_NAME = "token_cache.json"  # noqa: S105  a file's name


def state_dir(environment: Mapping[str, str]) -> Path:
    """Absolute path of the local state folder; a tenant has its own in the shared one.

    Raises:
        ConfigError: APEX_TENANT is malformed, or as by `state_root`.
    """
    return load_tenant(environment).folder(state_root(environment))


def state_root(environment: Mapping[str, str]) -> Path:
    """Absolute path of the state folder that tenants share.

    Raises:
        ConfigError: APEX_STATE_DIR is not a path.
    """
    configured = read_variable(environment, "APEX_STATE_DIR")
    if configured:
        return path_of_folder("APEX_STATE_DIR", configured)
    return (project_dir() / ".apex").absolute()


def record_dir(environment: Mapping[str, str]) -> Path:
    """Folder below which the launchpad may read and write files of records, absolute.

    Raises:
        ConfigError: As by `state_dir`, or APEX_RECORD_DIR is not a path.
    """
    configured = read_variable(environment, "APEX_RECORD_DIR")
    if configured:
        folder = path_of_folder("APEX_RECORD_DIR", configured)
        return load_tenant(environment).folder(folder)
    return state_dir(environment) / "inbox"


def ended_sessions_file(environment: Mapping[str, str]) -> Path:
    """File of the sessions that were signed out of at the panel or the Dagster UI.

    All tenants share it, because one sign-in may open the panels of several.
    """
    return state_root(environment) / "ended-sessions"


def dagster_home(environment: Mapping[str, str]) -> Path | None:
    """Dagster's home folder; None if DAGSTER_HOME is not set.

    Raises:
        ConfigError: It is not a path.
    """
    configured = read_variable(environment, "DAGSTER_HOME")
    return path_of_folder("DAGSTER_HOME", configured) if configured else None


def token_cache_path(environment: Mapping[str, str]) -> Path:
    """Same as `Settings.token_cache_path`, without loading the other settings."""
    return state_dir(environment) / TOKEN_CACHE_NAME


def project_dir() -> Path:
    """The checkout that contains this package, or else the current folder."""
    checkout = Path(__file__).parents[2]
    return checkout if (checkout / "workspace.yaml").is_file() else Path.cwd()
