"""Tables and their columns under the names that OpenLineage gives them. Pure.

Names follow the OpenLineage specification's page "Dataset Naming" for Postgres. It has
no entry for Dataverse; the environment's address and the table's logical name are chosen.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SEARCH_PATH = re.compile(r"search_path\s*=\s*\"?([^\s,\"\\]+)")


@dataclass(frozen=True, slots=True)
class LineageColumn:
    """A column, and the columns of other tables that its values come from."""

    name: str
    type: str = ""
    description: str = ""
    sources: tuple[tuple["LineageTable", str], ...] = ()


@dataclass(frozen=True, slots=True)
class LineageTable:
    """A table of one of the two ends."""

    namespace: str
    name: str
    columns: tuple[LineageColumn, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Places:
    """Where tables are.

    Attributes:
        postgres: Namespace of the database, `postgres://host:port`.
        prefix: Database and schema, before a table's name.
        dataverse: Namespace of the environment.
    """

    postgres: str
    prefix: str
    dataverse: str

    def table(self, name: str, *, in_dataverse: bool = False) -> LineageTable:
        """A table without its columns."""
        if in_dataverse:
            return LineageTable(self.dataverse, name)
        return LineageTable(self.postgres, f"{self.prefix}.{name}")


def places(postgres: Mapping[str, str], resource: str) -> Places:
    """Name both ends.

    Args:
        postgres: libpq's parameters; user and password are not looked at.
        resource: Address of the Dataverse environment.
    """
    host = postgres.get("host", "localhost").split(",")[0]
    port = postgres.get("port", "5432").split(",")[0]
    if not host or host.startswith("/"):
        host = "localhost"
    path = _SEARCH_PATH.search(postgres.get("options", ""))
    schema = path[1] if path else "public"
    prefix = f"{postgres.get('dbname', '')}.{schema}"
    return Places(f"postgres://{host}:{port or '5432'}", prefix, resource)
