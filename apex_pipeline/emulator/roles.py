"""Roles and users: what joins them, and the messages about privileges.

From "Associate and disassociate table rows using the Web API", AddPrivilegesRole,
ReplacePrivilegesRole, RemovePrivilegeRole, RetrieveUserPrivileges and
RetrieveRolePrivilegesRole of the Web API reference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from apex_pipeline.emulator import errors, guids, security, targets, wire
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.filters import Sql
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import DEPTHS, ROLE_PRIVILEGE, USER_ROLE, Principal
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.system_tables import (
    ADMINISTRATOR_ROLE,
    INJECTED_PRIVILEGES,
    ROOT_BUSINESS_UNIT,
    plain_privilege_id,
)
from apex_pipeline.emulator.wire import Request, Response

# Collection-valued navigation properties: table and name lead to the other table, the
# kind of link, and whether the record is the link's source.
ASSOCIATIONS: dict[tuple[str, str], tuple[str, str, bool]] = {
    ("systemuser", "systemuserroles_association"): ("role", USER_ROLE, True),
    ("role", "systemuserroles_association"): ("systemuser", USER_ROLE, False),
    ("role", "roleprivileges_association"): ("privilege", ROLE_PRIVILEGE, True),
}


@dataclass(frozen=True, slots=True)
class Link:
    """An association of one record as a path names it.

    Attributes:
        table: The record's table.
        record_id: The record.
        name: The navigation property.
        predicate: The other record's key with the closing parenthesis, if it is there.
    """

    table: Table
    record_id: str
    name: str
    predicate: str = ""


def related(
    env: Environment, table: Table, name: str, record_id: str
) -> tuple[Table, Sql]:
    """The other table of an association, and the condition for its records."""
    other_name, kind, is_source = ASSOCIATIONS[table.name, name]
    other = env.table(other_name)
    near, far = ("source", "target") if is_source else ("target", "source")
    condition = " ".join(
        (
            quoted(other.primary_key),
            "IN (SELECT",
            far,
            "FROM link WHERE kind = ? AND",
            near,
            "= ?)",
        )
    )
    return other, (condition, [kind, record_id])


def associate(
    env: Environment, user: Principal, request: Request, link: Link
) -> Response:
    """`POST …/name/$ref`, `DELETE …/name(id)/$ref` and `DELETE …/name/$ref?$id=`.

    Joining what is joined is refused: "Cannot insert duplicate key", observed.
    """
    found = ASSOCIATIONS.get((link.table.name, link.name))
    if found is None or found[1] != USER_ROLE:
        raise errors.not_emulated(f"the association {link.name}.")
    other = env.table(found[0])
    user.require("Assign", env.table("role"))
    if request.method == "POST":
        url = str(request.json(link.table.entity_set).get("@odata.id", ""))
    elif link.predicate:
        url = f"{other.entity_set}({link.predicate}"
    else:
        url = request.options().get("$id", "")
    other_id = _referenced(env, other, url)
    pair = (link.record_id, other_id) if found[2] else (other_id, link.record_id)
    if request.method == "DELETE":
        env.storage.execute(
            "DELETE FROM link WHERE kind = ? AND source = ? AND target = ?",
            (found[1], *pair),
        )
        return Response(204)
    if request.method != "POST":
        raise errors.method_not_allowed(request.method)
    if env.storage.rows(
        "SELECT 1 FROM link WHERE kind = ? AND source = ? AND target = ?",
        (found[1], *pair),
    ):
        raise errors.WebApiError(412, "0x80040237", "Cannot insert duplicate key.")
    security.add_link(env, found[1], *pair)
    return Response(204)


def _referenced(env: Environment, table: Table, url: str) -> str:
    entity_set, _, predicate = unquote(url).rpartition("/")[2].partition("(")
    if entity_set != table.entity_set:
        raise errors.malformed_url(f"'{url[:200]}' is no {table.name}.")
    found = targets.find(env, table, predicate.removesuffix(")"))
    if found is None:
        raise errors.no_such_record(table.name, predicate.removesuffix(")"))
    return found


def role_action(
    env: Environment, user: Principal, request: Request, role: str, message: str
) -> Response:
    """AddPrivilegesRole, ReplacePrivilegesRole or RemovePrivilegeRole on a role."""
    user.require("Write", env.table("role"))
    body = request.json("roles")
    if message == "RemovePrivilegeRole":
        _remove(env, role, guids.store_guid(str(body.get("PrivilegeId"))))
        return Response(204)
    if message not in {"AddPrivilegesRole", "ReplacePrivilegesRole"}:
        raise errors.not_emulated(f"the message {message}.")
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


def retrieve_role_privileges(
    env: Environment, user: Principal, request: Request, role: str
) -> Response:
    """RetrieveRolePrivilegesRole; it is not bound to the role (observed)."""
    user.require("Read", env.table("role"))
    return _privileges(
        env,
        request,
        [role],
        "Microsoft.Dynamics.CRM.RetrieveRolePrivilegesRoleResponse",
    )


def retrieve_user_privileges(
    env: Environment, user: Principal, request: Request, user_id: str
) -> Response:
    """RetrieveUserPrivileges; of oneself without a privilege (chosen)."""
    if user_id != user.stored_id:
        user.require("Read", env.table("systemuser"))
    roles = env.storage.rows(
        "SELECT target FROM link WHERE kind = ? AND source = ?", (USER_ROLE, user_id)
    )
    return _privileges(
        env,
        request,
        [row[0] for row in roles],
        "Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse",
    )


def _privileges(
    env: Environment, request: Request, roles: list[str], kind: str
) -> Response:
    """RolePrivileges, each at its greatest depth."""
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
    context = f"{request.api}/$metadata#{kind}"
    return wire.json_response({"@odata.context": context, "RolePrivileges": listed})


BoundFunction = Callable[[Environment, Principal, Request, str], Response]

BOUND_FUNCTIONS: dict[tuple[str, str], BoundFunction] = {
    ("systemuser", "RetrieveUserPrivileges"): retrieve_user_privileges,
}
