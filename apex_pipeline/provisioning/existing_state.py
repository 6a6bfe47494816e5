"""The existing state of an environment, and the names that we use in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PREFIX = "apex"
PUBLISHER = "apex"
SOLUTION = "ApexMetrics"
ROLE = "Apex Metrics Sync"
TABLE_PRIVILEGES = ("Create", "Read", "Write")
METADATA_PRIVILEGES = ("prvReadEntity", "prvReadAttribute")
"""Privileges to read definitions, which tell a wrong value from a missing column."""

GLOBAL = "Global"


@dataclass(frozen=True, slots=True)
class FoundPublisher:
    """A publisher with our unique name or our prefix."""

    id: str
    unique_name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class FoundSolution:
    """The solution with our unique name; `components` are the ids of its contents."""

    id: str
    publisher_id: str
    is_managed: bool
    components: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """One column of the table.

    Attributes:
        facets: Properties of its type, such as `MaxLength`.
    """

    type: str
    is_writable: bool
    facets: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FoundTable:
    """The table.

    Attributes:
        id: Id of its definition, which is the component in a solution.
        is_managed: Whether it belongs to a managed solution.
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
    """The role; `privileges` maps privilege ids to their depth."""

    id: str
    privileges: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundUser:
    """The application user; `roles` maps role ids to names."""

    id: str
    is_disabled: bool
    business_unit: str
    roles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """The parts of an environment that concern us.

    Attributes:
        language: The organization's base language.
        is_audited: The organization's switch for auditing.
        business_unit: Id of the root business unit.
        application: Client id of the application.
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
        """The publisher with our prefix."""
        return next((p for p in self.publishers if p.prefix == PREFIX), None)

    def is_filed(self, component: str) -> bool:
        """Whether our solution contains a table or role, by its id."""
        return self.solution is not None and component in self.solution.components

    def missing_privileges(self) -> list[str]:
        """Ids of the privileges that the role lacks; the table's only if it exists."""
        held = {} if self.role is None else self.role.privileges
        return [each for each in self.wanted_privileges() if held.get(each) != GLOBAL]

    def wanted_privileges(self) -> list[str]:
        """Ids of the privileges that the role should have."""
        ids = list(self.metadata_privileges.values())
        if self.table is not None:
            ids += [self.table.privileges[each] for each in TABLE_PRIVILEGES]
        return ids
