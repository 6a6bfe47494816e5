"""The name of our code location, which identifies our runs and incidents."""

from collections.abc import Mapping

from apex_pipeline.settings.variables import read_variable

LOCATION_VARIABLE = "DAGSTER_LOCATION_NAME"
"""Dagster's own variable, which `dagster code-server start` reads."""

DEFAULT_LOCATION = "apex_pipeline"


def load_code_location(environment: Mapping[str, str]) -> str:
    """Return the name that workspace.yaml gives this code location."""
    return read_variable(environment, LOCATION_VARIABLE) or DEFAULT_LOCATION
