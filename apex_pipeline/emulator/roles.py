"""The messages about privileges of roles and users.

From AddPrivilegesRole, RetrieveUserPrivileges and RetrieveRolePrivilegesRole of the Web
API reference.
"""

from apex_pipeline.emulator import guids, security, web_api_errors
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.security import ROLE_PRIVILEGE, USER_ROLE
from apex_pipeline.emulator.storage import joined
from apex_pipeline.emulator.system_tables import (
    ADMINISTRATOR_ROLE,
    INJECTED_PRIVILEGES,
    ROOT_BUSINESS_UNIT,
    plain_privilege_id,
)
from apex_pipeline.emulator.table_definitions import DEPTHS
from apex_pipeline.emulator.wire import Response


def add_privileges(call: Call, role: str) -> Response:
    env = call.env
    call.user.require("Write", env.table("role"))
    listed = call.request.json("roles").get("Privileges")
    if not isinstance(listed, list):
        raise web_api_errors.malformed_payload(
            "roles", "The parameter 'Privileges' is missing."
        )
    for privilege, depth in [_read_grant(env, each) for each in listed]:
        security.add_link(env, ROLE_PRIVILEGE, role, privilege, depth)
    return Response(204)


def _read_grant(env: EmulatedEnvironment, grant: object) -> tuple[str, str]:
    """A RolePrivilege: id and depth, which is a name or its number."""
    if not isinstance(grant, dict) or "PrivilegeId" not in grant:
        raise web_api_errors.malformed_payload(
            "roles", "A RolePrivilege has no PrivilegeId."
        )
    privilege_id = str(grant["PrivilegeId"])
    depth = str(grant.get("Depth", "Basic"))
    depth = DEPTHS[int(depth)] if depth in {"0", "1", "2", "3"} else depth
    for text, fits, kind in (
        (depth, depth in DEPTHS, "Microsoft.Dynamics.CRM.PrivilegeDepth"),
        (privilege_id, guids.is_guid(privilege_id), "Edm.Guid"),
    ):
        if not fits:
            reason = (
                f"Cannot convert the literal '{text}' to the expected type '{kind}'."
            )
            raise web_api_errors.malformed_payload("roles", reason)
    stored = guids.store_guid(privilege_id)
    if not env.storage.rows("SELECT 1 FROM privilege WHERE privilegeid = ?", (stored,)):
        raise web_api_errors.no_such_record("privilege", privilege_id)
    return stored, depth


def inject_privileges(env: EmulatedEnvironment, role: str) -> None:
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
        statement = joined(
            "SELECT privilegeid, name, value FROM link JOIN privilege ON",
            f"privilegeid = target WHERE kind = ? AND source IN ({marks})",
        )
        rows = env.storage.rows(statement, (ROLE_PRIVILEGE, *roles))
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
