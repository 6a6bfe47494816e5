"""Create and check the analysts' database role, `apex_analyst`."""

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database
from apex_pipeline.provisioning.access_gaps import Gap, by_hand

ANALYST = "apex_analyst"

_GRANT = "SELECT grant_analyst_access()"

_ROLE = """
    SELECT to_regrole('apex_analyst') IS NOT NULL,
        to_regclass('analyst_object') IS NOT NULL,
        (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)
"""

_UNREADABLE = """
    SELECT name, has_table_privilege(to_regclass(name), 'SELECT WITH GRANT OPTION')
    FROM analyst_object
    WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(
        to_regrole('apex_analyst'), to_regclass(name), 'SELECT'
    )
    ORDER BY name
"""


def grant(database: Database) -> str | None:
    """Create the role if it is missing, and grant it access to the analysts' tables.

    Returns:
        What you must do by hand first; None if nothing.

    Raises:
        DatabaseError: Postgres did not answer or refused.
    """
    return database.transact(lambda c: _text(c, _GRANT), repeatable=True)


def find_gaps(database: Database) -> list[Gap]:
    """Find whether the role is missing, or which tables it cannot read.

    Raises:
        DatabaseError: Postgres did not answer or refused.
    """
    return database.ask(_find_gaps)


def missing_access(database: Database) -> str | None:
    """Describe which of their tables analysts cannot read; None if they can read all.

    Raises:
        DatabaseError: Postgres did not answer or refused.
    """
    return by_hand(find_gaps(database), ours_too=True)


def _find_gaps(connection: Connection) -> list[Gap]:
    exists, has_list, may_create = connection.exec_driver_sql(_ROLE).one()
    if not exists:
        remedy = f"The role {ANALYST} is missing."
        if not may_create:
            remedy += (
                f" To use it, run as a user who may create roles: CREATE ROLE {ANALYST} "
                "NOLOGIN; then run `apex provision database`."
            )
        return [Gap(ANALYST, is_role=True, is_ours=may_create, remedy=remedy)]
    if not has_list:
        return []
    found: dict[bool, list[str]] = {}
    for name, is_ours in connection.exec_driver_sql(_UNREADABLE):
        found.setdefault(is_ours, []).append(name)
    return [
        Gap(
            f"SELECT on {', '.join(names)} to {ANALYST}",
            is_role=False,
            is_ours=is_ours,
            remedy=f"The role {ANALYST} may not read {', '.join(names)}.",
        )
        for is_ours, names in found.items()
    ]


def _text(connection: Connection, statement: str) -> str | None:
    found: str | None = connection.exec_driver_sql(statement).scalar_one_or_none()
    return found
