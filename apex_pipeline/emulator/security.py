"""Who may do what: application users, their roles, the roles' privileges."""

from collections.abc import Sequence
from dataclasses import dataclass

from apex_pipeline.emulator import guids, table_definitions, web_api_errors
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.system_tables import (
    ADMINISTRATOR,
    ADMINISTRATOR_ROLE,
    ROOT_BUSINESS_UNIT,
    plain_privilege_id,
)
from apex_pipeline.emulator.table_definitions import metadata_id

USER_ROLE = "userrole"
ROLE_PRIVILEGE = "roleprivilege"

_USER = "SELECT systemuserid, isdisabled FROM systemuser WHERE applicationid = ?"
_ROLES = "SELECT target FROM link WHERE kind = 'userrole' AND source = ?"
_HELD = """
SELECT lower(privilege.name), max(held.value = 'Global')
FROM link AS has
JOIN link AS held ON held.kind = 'roleprivilege' AND held.source = has.target
JOIN privilege ON privilege.privilegeid = held.target
WHERE has.kind = 'userrole' AND has.source = ?
GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Principal:
    """The user that a request acts as.

    Attributes:
        application: Client id of the token.
        user_id: Its application user.
        role_count: How many roles it has.
        held: Names of its privileges in lower case, and whether they reach the whole
            organization; None for an administrator, who has all.
        denied: Names of privileges taken from it by the admin endpoint.
    """

    application: str
    user_id: str
    role_count: int
    held: dict[str, bool] | None
    denied: frozenset[str] = frozenset()

    @property
    def stored_id(self) -> str:
        """The user's id as guid columns store it."""
        return guids.store_guid(self.user_id)

    def may(self, privilege: str, *, globally: bool = False) -> bool:
        """Whether the user has a privilege, to any depth or over the organization."""
        name = privilege.lower()
        if name in self.denied:
            return False
        if self.held is None:
            return True
        return self.held.get(name, False) if globally else name in self.held

    def require(self, operation: str, table: Table, *, globally: bool = False) -> None:
        """Insist on a privilege on a table."""
        stem = table_definitions.privilege_stem(table.definition)
        name = f"prv{operation}{stem}"
        if stem and not self.may(name, globally=globally):
            ids = {
                each["Name"]: str(each["PrivilegeId"])
                for each in table_definitions.privileges(table.definition)
            }
            raise self._denied(name, ids.get(name), table.name)

    def require_plain(self, name: str, entity: str) -> None:
        """Insist on a privilege that belongs to no table here."""
        if not self.may(name):
            raise self._denied(name, plain_privilege_id(name), entity)

    def _denied(self, name: str, privilege_id: str | None, entity: str) -> Exception:
        """PrincipalPrivilegeDenied, worded as observed."""
        count = 0 if self.held is None else len(self.held)
        return web_api_errors.WebApiError(
            403,
            "0x80048306",
            f"Principal user (Id={self.user_id}, type=8, roleCount={self.role_count},"
            f" privilegeCount={count}, accessMode='4 Non-interactive') is missing"
            f" {name} privilege (Id={privilege_id}) on OTC=10001 for entity '{entity}'"
            f" (LocalizedName='{entity}'). context.Caller={self.user_id}.",
        )


def principal(env: EmulatedEnvironment, application: str) -> Principal:
    """The application user of a token."""
    if not guids.is_guid(application):
        raise web_api_errors.not_a_member()
    found = env.storage.rows(_USER, (guids.store_guid(application),))
    if not found:
        raise web_api_errors.not_a_member()
    user, disabled = found[0]
    if disabled:
        raise web_api_errors.user_disabled()
    roles = [row[0] for row in env.storage.rows(_ROLES, (user,))]
    administrator = guids.store_guid(ADMINISTRATOR_ROLE) in roles
    held = None
    if not administrator:
        held = {name: bool(all_) for name, all_ in env.storage.rows(_HELD, (user,))}
    denied = env.storage.document("denied", application) or []
    return Principal(
        application, guids.load_guid(user), len(roles), held, frozenset(denied)
    )


def set_user(
    env: EmulatedEnvironment,
    application: str,
    *,
    disabled: bool = False,
    denied: Sequence[str] = (),
    roles: Sequence[str] | None = None,
) -> None:
    """Make an application user, or change it; by default an administrator.

    Raises:
        KeyError: There is no role of such a name.
    """
    user_id = metadata_id("systemuser", application)
    user = guids.store_guid(user_id)
    with env.storage.transaction():
        found = env.storage.rows(_USER, (guids.store_guid(application),))
        if found:
            user = found[0][0]
        else:
            values = {
                "systemuserid": user_id,
                "applicationid": application,
                "fullname": f"# {application}",
                "businessunitid": ROOT_BUSINESS_UNIT,
            }
            env.insert("systemuser", values)
        statement = "UPDATE systemuser SET isdisabled = ? WHERE systemuserid = ?"
        env.storage.execute(statement, (int(disabled), user))
        names = [name.lower() for name in denied]
        env.storage.put_document("denied", application, names)
        if roles is not None or not found:
            _set_roles(env, user, (ADMINISTRATOR,) if roles is None else roles)


def remove_user(env: EmulatedEnvironment, application: str) -> None:
    """Take an application's user away; its tokens stay valid."""
    if guids.is_guid(application):
        env.storage.execute(
            "DELETE FROM systemuser WHERE applicationid = ?",
            (guids.store_guid(application),),
        )


def _set_roles(env: EmulatedEnvironment, user: str, names: Sequence[str]) -> None:
    env.storage.execute(
        "DELETE FROM link WHERE kind = 'userrole' AND source = ?", (user,)
    )
    for name in names:
        found = env.storage.rows("SELECT roleid FROM role WHERE name = ?", (name,))
        if not found:
            raise KeyError(f"there is no role {name!r}")
        add_link(env, USER_ROLE, user, found[0][0])


def add_link(
    env: EmulatedEnvironment,
    kind: str,
    source: str,
    target: str,
    value: str | None = None,
) -> None:
    """Relate two records, both in stored form."""
    env.storage.execute(
        "INSERT OR REPLACE INTO link VALUES (?, ?, ?, ?)", (kind, source, target, value)
    )
