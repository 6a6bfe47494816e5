"""What an environment may hold of ours, by the names that we give it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "apex"
PUBLISHER = "apex"
SOLUTION = "ApexMetrics"
ROLE = "Apex Metrics Sync"
TABLE_PRIVILEGES = ("Create", "Read", "Write")
METADATA_PRIVILEGES = ("prvReadEntity", "prvReadAttribute")
"""What telling a wrong value from a missing column needs: reading definitions."""

GLOBAL = "Global"


@dataclass(frozen=True, slots=True)
class FoundPublisher:
    """A publisher with our unique name or our prefix."""

    id: str
    unique_name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class FoundSolution:
    """The solution of our unique name; `components` holds the ids of what is in it."""

    id: str
    publisher_id: str
    is_managed: bool
    components: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """One column of the table.

    Attributes:
        facets: Typed properties such as `MaxLength`, of our columns alone.
    """

    type: str
    is_writable: bool
    facets: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FoundTable:
    """The table.

    Attributes:
        id: Of its definition, which is what a solution holds.
        is_managed: Whether it came with somebody's managed solution.
        privileges: Operation, such as `Create`, to the id of its privilege.
    """

    id: str
    is_managed: bool
    table_type: str
    entity_set: str
    has_change_tracking: bool
    is_audited: bool
    columns: Mapping[str, FoundColumn]
    privileges: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundRole:
    """The role; `privileges` maps the ids that it holds to their depth."""

    id: str
    privileges: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundUser:
    """The application user; `roles` maps ids to names."""

    id: str
    is_disabled: bool
    business_unit: str
    roles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What an environment holds of ours.

    Attributes:
        language: The organization's base language.
        is_audited: The organization's own switch for auditing.
        metadata_privileges: Name to id of `METADATA_PRIVILEGES`.
    """

    language: int
    is_audited: bool
    business_unit: str
    application: str
    metadata_privileges: Mapping[str, str]
    publishers: tuple[FoundPublisher, ...] = ()
    solution: FoundSolution | None = None
    table: FoundTable | None = None
    role: FoundRole | None = None
    user: FoundUser | None = None

    @property
    def publisher(self) -> FoundPublisher | None:
        """The publisher that may own what begins with our prefix."""
        return next((p for p in self.publishers if p.prefix == PREFIX), None)

    def is_filed(self, component: str) -> bool:
        """Whether a table or a role, by its id, is in our solution."""
        return self.solution is not None and component in self.solution.components

    def missing_privileges(self) -> list[str]:
        """Ids of what the role lacks, as far as the table that names them is there."""
        held = {} if self.role is None else self.role.privileges
        return [each for each in self.wanted_privileges() if held.get(each) != GLOBAL]

    def wanted_privileges(self) -> list[str]:
        """Ids of what the role is to hold."""
        ids = list(self.metadata_privileges.values())
        if self.table is not None:
            ids += [self.table.privileges[each] for each in TABLE_PRIVILEGES]
        return ids
