"""Least privilege: what the application may do, and what it may not. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apex_pipeline.metrics import TABLE
from apex_pipeline.monitoring.doctor.check_results import (
    Finding,
    State,
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
    """Names of privileges in lower case, to their depth.

    "RolePrivilege ComplexType", Microsoft Learn. A privilege on a table is named after
    the table's schema name, which may be written in any case.
    """

    depths: Mapping[str, str]

    @classmethod
    def read(cls, privileges: Iterable[Mapping[str, Any]]) -> "Rights":
        """Take up `RolePrivileges` as the service answers them."""
        return cls(
            {
                str(each["PrivilegeName"]).lower(): str(each["Depth"])
                for each in privileges
            }
        )

    def missing(self) -> list[str]:
        """What a sync needs and is not held over the whole organization."""
        wanted = [f"prv{each}{TABLE}" for each in TABLE_PRIVILEGES]
        wanted += METADATA_PRIVILEGES
        return [each for each in wanted if self.depths.get(each.lower()) != GLOBAL]

    @property
    def may_read_definitions(self) -> bool:
        """Whether tables and columns may be looked at."""
        return all(each.lower() in self.depths for each in METADATA_PRIVILEGES)

    @property
    def may_delete(self) -> bool:
        """Whether records of the table may be deleted, to any depth."""
        return f"prvdelete{TABLE}" in self.depths

    @property
    def held(self) -> str:
        """What a sync needs, in words."""
        operations = ", ".join(TABLE_PRIVILEGES).lower()
        return f"{operations} on {TABLE}, {', '.join(METADATA_PRIVILEGES)}"


def role(rights: Rights | None, found: Found | None) -> Finding:
    """Judge the role.

    Args:
        rights: The user's, whatever role they are from; None where they are not to be
            seen.
        found: The environment as whoever may read roles sees it; None where nobody
            may, and the user's rights alone are to be judged.
    """
    if found is None:
        return _by_rights(rights)
    if found.role is None:
        return _without_role(rights, f"there is no role {ROLE}")
    delete = None if found.table is None else found.table.privileges.get("Delete")
    if delete in found.role.privileges:
        return failed(f"{ROLE} may delete records of {TABLE}")
    if found.missing_privileges():
        return failed(f"{ROLE} lacks privileges")
    if found.user is None or found.role.id not in found.user.roles:
        return _without_role(rights, f"the application user does not hold {ROLE}")
    return _besides(found.user)


def _by_rights(rights: Rights | None) -> Finding:
    if rights is None:
        return Finding(State.NOT_CHECKED, "neither the role nor the rights are seen")
    if rights.may_delete:
        return failed(f"the application may delete records of {TABLE}")
    return ok("no delete, by the user's privileges")


def _besides(user: FoundUser) -> Finding:
    others = sorted(name for name in user.roles.values() if name != ROLE)
    if others:
        return warning(
            f"{ROLE}, and more than the sync needs: {', '.join(others)}",
            "Take the other roles from the application user.",
        )
    return ok(f"{ROLE} alone; no delete")


def _without_role(rights: Rights | None, seen: str) -> Finding:
    """Another role may do, though most that do may do too much."""
    if rights is None or rights.missing():
        return failed(seen)
    return warning(f"{seen}; another role grants what is needed")
