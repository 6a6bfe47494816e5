"""The name of our code location, by which runs and incidents of ours are known."""

from collections.abc import Mapping

LOCATION_VARIABLE = "DAGSTER_LOCATION_NAME"
"""Dagster's own variable: `dagster code-server start` reads its name there."""

DEFAULT_LOCATION = "apex_pipeline"


def load_code_location(environment: Mapping[str, str]) -> str:
    """The name that workspace.yaml gives this code location."""
    return environment.get(LOCATION_VARIABLE) or DEFAULT_LOCATION
