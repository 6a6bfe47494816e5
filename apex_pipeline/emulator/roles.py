"""The messages about privileges of roles and users.

From AddPrivilegesRole, ReplacePrivilegesRole, RemovePrivilegeRole, RetrieveUserPrivileges and
RetrieveRolePrivilegesRole of the Web API reference.
"""

from apex_pipeline.emulator import errors, guids, security
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.security import DEPTHS, ROLE_PRIVILEGE, USER_ROLE
from apex_pipeline.emulator.system_tables import (
    ADMINISTRATOR_ROLE,
    INJECTED_PRIVILEGES,
    ROOT_BUSINESS_UNIT,
    plain_privilege_id,
)
from apex_pipeline.emulator.wire import Response


def role_action(call: Call, role: str) -> Response:
    """AddPrivilegesRole, ReplacePrivilegesRole or RemovePrivilegeRole on a role."""
    env, message = call.env, call.place.name
    call.user.require("Write", env.table("role"))
    body = call.request.json("roles")
    if message == "RemovePrivilegeRole":
        _remove(env, role, guids.store_guid(str(body.get("PrivilegeId"))))
        return Response(204)
    listed = body.get("Privileges")
    if not isinstance(listed, list):
        raise errors.malformed_payload(
            "roles", "The parameter 'Privileges' is missing."
        )
    granted = [_read_grant(env, each) for each in listed]
    if message == "ReplacePrivilegesRole":
        env.storage.execute(
            "DELETE FROM link WHERE kind = ? AND source = ?", (ROLE_PRIVILEGE, role)
        )
        inject_privileges(env, role)
    for privilege, depth in granted:
        security.add_link(env, ROLE_PRIVILEGE, role, privilege, depth)
    return Response(204)


def _remove(env: Environment, role: str, privilege: str) -> None:
    env.storage.execute(
        "DELETE FROM link WHERE kind = ? AND source = ? AND target = ?",
        (ROLE_PRIVILEGE, role, privilege),
    )


def _read_grant(env: Environment, grant: object) -> tuple[str, str]:
    """A RolePrivilege: id and depth, which is a name or its number."""
    if not isinstance(grant, dict) or "PrivilegeId" not in grant:
        raise errors.malformed_payload("roles", "A RolePrivilege has no PrivilegeId.")
    privilege_id = str(grant["PrivilegeId"])
    depth = str(grant.get("Depth", "Basic"))
    depth = DEPTHS[int(depth)] if depth in {"0", "1", "2", "3"} else depth
    if depth not in DEPTHS:
        raise errors.malformed_payload(
            "roles",
            f"Cannot convert the literal '{depth}' to the expected type"
            " 'Microsoft.Dynamics.CRM.PrivilegeDepth'.",
        )
    if not guids.is_guid(privilege_id):
        raise errors.malformed_payload(
            "roles",
            f"Cannot convert the literal '{privilege_id}' to the expected type"
            " 'Edm.Guid'.",
        )
    stored = guids.store_guid(privilege_id)
    if not env.storage.rows("SELECT 1 FROM privilege WHERE privilegeid = ?", (stored,)):
        raise errors.no_such_record("privilege", privilege_id)
    return stored, depth


def inject_privileges(env: Environment, role: str) -> None:
    """What the platform adds to a role by itself; observed with SharePoint's."""
    for name in INJECTED_PRIVILEGES:
        privilege = guids.store_guid(plain_privilege_id(name))
        security.add_link(env, ROLE_PRIVILEGE, role, privilege, "Global")


def retrieve_role_privileges(call: Call, role: str) -> Response:
    """RetrieveRolePrivilegesRole; it is not bound to the role (observed)."""
    call.user.require("Read", call.env.table("role"))
    return _privileges(call, [role])


def retrieve_user_privileges(call: Call, user_id: str) -> Response:
    """RetrieveUserPrivileges; of oneself without a privilege (chosen)."""
    if user_id != call.user.stored_id:
        call.user.require("Read", call.env.table("systemuser"))
    roles = call.env.storage.rows(
        "SELECT target FROM link WHERE kind = ? AND source = ?", (USER_ROLE, user_id)
    )
    return _privileges(call, [row[0] for row in roles])


def _privileges(call: Call, roles: list[str]) -> Response:
    """RolePrivileges, each at its greatest depth."""
    env = call.env
    if guids.store_guid(ADMINISTRATOR_ROLE) in roles:
        rows = [
            (*row, "Global")
            for row in env.storage.rows("SELECT privilegeid, name FROM privilege")
        ]
    else:
        marks = ", ".join("?" * len(roles))
        rows = env.storage.rows(
            " ".join(
                (
                    "SELECT privilegeid, name, value FROM link",
                    "JOIN privilege ON privilegeid = target",
                    f"WHERE kind = ? AND source IN ({marks})",
                )
            ),
            (ROLE_PRIVILEGE, *roles),
        )
    deepest: dict[tuple[str, str], str] = {}
    for privilege, name, depth in rows:
        known = deepest.setdefault((privilege, name), depth)
        deepest[privilege, name] = max(known, depth, key=DEPTHS.index)
    listed = [
        {
            "Depth": depth,
            "PrivilegeId": guids.load_guid(privilege),
            "BusinessUnitId": ROOT_BUSINESS_UNIT,
            "PrivilegeName": name,
            "RecordFilterId": "00000000-0000-0000-0000-000000000000",
            "RecordFilterUniqueName": None,
        }
        for (privilege, name), depth in deepest.items()
    ]
    return call.response(RolePrivileges=listed)
