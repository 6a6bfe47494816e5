"""Check least privilege: the application may do what a sync needs, and no more. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apex_pipeline.metrics import TABLE
from apex_pipeline.monitoring.doctor.check_results import (
    CheckState,
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.provisioning.existing_state import (
    GLOBAL,
    METADATA_PRIVILEGES,
    ROLE,
    TABLE_PRIVILEGES,
    Found,
    FoundUser,
)


@dataclass(frozen=True, slots=True)
class Rights:
    """A user's privileges: lower-case name to depth.

    Source: "RolePrivilege ComplexType", Microsoft Learn. A privilege on a table
    contains the table's schema name, which may be in any case.
    """

    depths: Mapping[str, str]

    @classmethod
    def read(cls, privileges: Iterable[Mapping[str, Any]]) -> "Rights":
        """Parse `RolePrivileges` from the service's answer."""
        return cls(
            {
                str(each["PrivilegeName"]).lower(): str(each["Depth"])
                for each in privileges
            }
        )

    def missing(self) -> list[str]:
        """Privileges that a sync needs but the user lacks for the whole organization."""
        wanted = [f"prv{each}{TABLE}" for each in TABLE_PRIVILEGES]
        wanted += METADATA_PRIVILEGES
        return [each for each in wanted if self.depths.get(each.lower()) != GLOBAL]

    @property
    def may_read_definitions(self) -> bool:
        """Whether the user may read definitions of tables and columns."""
        return all(each.lower() in self.depths for each in METADATA_PRIVILEGES)

    @property
    def may_delete(self) -> bool:
        """Whether the user may delete records of the table, at any depth."""
        return f"prvdelete{TABLE}" in self.depths

    @property
    def held(self) -> str:
        """The privileges that a sync needs, in words."""
        operations = ", ".join(TABLE_PRIVILEGES).lower()
        return f"{operations} on {TABLE}, {', '.join(METADATA_PRIVILEGES)}"


def role(rights: Rights | None, found: Found | None) -> Measurement:
    """Check that the role grants what a sync needs and not delete.

    Args:
        rights: The user's privileges from all roles; None if they cannot be read.
        found: The environment with its roles; None if they cannot be read, in which
            case `rights` alone decides.
    """
    if found is None:
        return _by_rights(rights)
    if found.role is None:
        return _without_role(rights, f"the role {ROLE} does not exist")
    delete = None if found.table is None else found.table.privileges.get("Delete")
    if delete in found.role.privileges:
        return failed(f"{ROLE} may delete records of {TABLE}")
    if found.missing_privileges():
        return failed(f"{ROLE} lacks privileges")
    if found.user is None or found.role.id not in found.user.roles:
        return _without_role(rights, f"the application user does not have {ROLE}")
    return _besides(found.user)


def _by_rights(rights: Rights | None) -> Measurement:
    if rights is None:
        return Measurement(
            CheckState.NOT_CHECKED, "neither role nor privileges can be read"
        )
    if rights.may_delete:
        return failed(f"the application may delete records of {TABLE}")
    return ok("no delete, according to the user's privileges")


def _besides(user: FoundUser) -> Measurement:
    others = sorted(name for name in user.roles.values() if name != ROLE)
    if others:
        return warning(
            f"{ROLE}, and more than the sync needs: {', '.join(others)}",
            "Remove the other roles from the application user.",
        )
    return ok(f"only {ROLE}; no delete")


def _without_role(rights: Rights | None, seen: str) -> Measurement:
    """Another role may grant enough, though it usually grants too much."""
    if rights is None or rights.missing():
        return failed(seen)
    return warning(f"{seen}; another role grants what a sync needs")
