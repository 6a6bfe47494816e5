"""Dagster's storage, in the Postgres of DAGSTER_POSTGRES_URL; named in dagster.yaml.

`env:` in dagster.yaml would do as well, but a variable that is not set would end each of
Dagster's commands with a stack trace.
"""

import os
from collections.abc import Mapping
from typing import Any, Self

import click
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

_VARIABLE = "DAGSTER_POSTGRES_URL"
_MISSING = (
    f"{_VARIABLE} is not set. Name a Postgres beside Dagster there, as .env.example "
    "says, or set DAGSTER_HOME to a folder with a dagster.yaml of its own: an empty one "
    "has Dagster use SQLite, which is enough to validate definitions."
)


class PostgresOfVariable(DagsterPostgresStorage):
    """Dagster's own Postgres storage, whose address comes from the environment.

    Raises:
        UsageError: The variable is not set; Dagster's commands print that as a sentence.
    """

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """There is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, _: Mapping[str, Any]
    ) -> Self:
        """Make the storage; connections come later."""
        url = os.environ.get(_VARIABLE)
        if not url:
            raise click.UsageError(_MISSING)
        return cls(url, inst_data=inst_data)
