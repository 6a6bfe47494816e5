"""Create and check the analysts' database role, `apex_analyst`."""

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database

ANALYST = "apex_analyst"

_GRANT = "SELECT grant_analyst_access()"

_MISSING = """
    SELECT CASE
        WHEN to_regrole('apex_analyst') IS NULL THEN 'The role apex_analyst is missing.'
        ELSE 'The role apex_analyst may not read '
            || string_agg(name, ', ' ORDER BY name) || '.'
        END
    FROM analyst_object
    WHERE to_regrole('apex_analyst') IS NULL
        OR to_regclass(name) IS NOT NULL
            AND NOT has_table_privilege(
                to_regrole('apex_analyst'), to_regclass(name), 'SELECT'
            )
    HAVING count(*) > 0
"""


def grant(database: Database) -> str | None:
    """Create the role if it is missing, and grant it access to the analysts' tables.

    Returns:
        What you must do by hand first; None if nothing.

    Raises:
        DatabaseError: Postgres did not answer or refused.
    """
    return database.transact(lambda c: _text(c, _GRANT), repeatable=True)


def missing_access(database: Database) -> str | None:
    """Describe which of their tables analysts cannot read; None if they can read all.

    Raises:
        DatabaseError: Postgres did not answer or refused.
    """
    return database.transact(lambda c: _text(c, _MISSING), repeatable=True)


def _text(connection: Connection, statement: str) -> str | None:
    found: str | None = connection.exec_driver_sql(statement).scalar_one_or_none()
    return found
