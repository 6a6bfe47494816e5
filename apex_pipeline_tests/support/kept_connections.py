"""Dagster's storage as ours in dagster.yaml, at an address that a test chooses."""

from collections.abc import Mapping
from typing import Any, Self

from dagster._serdes import ConfigurableClassData

from apex_pipeline.defs.operations.dagster_storage import PostgresOfVariable


class KeptConnections(PostgresOfVariable):
    """Dagster's own opens a connection for each statement of a run."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Take an address."""
        return {"postgres_url": str}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, given: Mapping[str, Any]
    ) -> Self:
        """Create the storage."""
        url = given["postgres_url"]
        storage = cls(url, inst_data=inst_data)
        storage.keep_connections(url)
        return storage
