"""The name of our code location, which identifies our runs and incidents."""

from collections.abc import Mapping

from apex_pipeline.settings.tenant import load_tenant
from apex_pipeline.settings.variable_reading import read_variable

LOCATION_VARIABLE = "DAGSTER_LOCATION_NAME"
"""Dagster's own variable, which `dagster code-server start` reads."""


def load_code_location(environment: Mapping[str, str]) -> str:
    """Return the name that workspace.yaml gives this code location.

    Raises:
        ConfigError: APEX_TENANT is malformed.
    """
    given = read_variable(environment, LOCATION_VARIABLE)
    return given or load_tenant(environment).location


def load_journal_name(environment: Mapping[str, str]) -> str:
    """Return the name under which the alert journal keeps our incidents.

    Raises:
        ConfigError: APEX_TENANT is malformed.
    """
    return load_tenant(environment).journal(load_code_location(environment))
