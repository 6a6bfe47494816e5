"""The logins of the embedded Postgres: one for each process, with what it needs.

The superuser makes them, and does nothing else: it may run programs as the user of `apex
up`, and so read all that this user may.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from apex_pipeline.local.private_files import write_private
from apex_pipeline.provisioning.analyst_role import ANALYST
from apex_pipeline.provisioning.database_roles import PANEL, SYNC

OWNER = "apex_owner"
"""Owns the metrics database: `database.url`, commands and migrations."""
SYNC_LOGIN = "apex_sync_login"
PANEL_LOGIN = "apex_panel_login"
DEMO_LOGIN = "apex_demo_login"
DAGSTER_LOGIN = "apex_dagster_login"
"""Owns the database of Dagster's storage."""

_GROUPS = (SYNC, PANEL)
_MEMBERS = {SYNC_LOGIN: SYNC, PANEL_LOGIN: PANEL, DEMO_LOGIN: PANEL}
# Says who holds a lock, with its application and since when.
_READS_ACTIVITY = (OWNER, SYNC_LOGIN)
LOGINS = (OWNER, *_MEMBERS, DAGSTER_LOGIN)

# What one of our own sessions may spill to the disk while it sorts.
_OWN_TEMPORARY_FILES = "8GB"

# Postgres lets every role create large objects, and fill the disk with them.
_LARGE_OBJECTS = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)")

# What an earlier release made as the superuser.
_TAKE_OVER = """
    SELECT format('ALTER %%s %%I.%%I OWNER TO %%I', CASE relkind
            WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
        nspname, relname, CAST(%(owner)s AS text))
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND nspname !~ '^pg_|^information_schema$'
        AND relowner = CAST(current_user AS regrole)
        -- An identity column's sequence goes with its table.
        AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                AND deptype IN ('a', 'i') AND relkind = 'S'
        )
    UNION ALL
    SELECT format('ALTER ROUTINE %%s OWNER TO %%I', CAST(pg_proc.oid AS regprocedure),
        CAST(%(owner)s AS text))
    FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE nspname !~ '^pg_|^information_schema$'
        AND proowner = CAST(current_user AS regrole)
    UNION ALL
    SELECT format('ALTER TYPE %%I.%%I OWNER TO %%I', nspname, typname,
        CAST(%(owner)s AS text))
    FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace
    WHERE typtype = 'e' AND nspname !~ '^pg_|^information_schema$'
        AND typowner = CAST(current_user AS regrole)
    UNION ALL
    SELECT format('ALTER SCHEMA %%I OWNER TO %%I', nspname, CAST(%(owner)s AS text))
    FROM pg_namespace
    WHERE nspname !~ '^pg_|^information_schema$|^public$'
        AND nspowner = CAST(current_user AS regrole)
"""


def passwords(path: Path) -> dict[str, str]:
    """The password of each login, kept in a file for its owner alone."""
    kept: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    if missing := [login for login in LOGINS if login not in kept]:
        kept |= {login: secrets.token_urlsafe(24) for login in missing}
        write_private(path, json.dumps(kept, allow_nan=False))
    return kept


def make_logins(superuser: psycopg.Connection, logins: Mapping[str, str]) -> None:
    """Create the groups and the logins, or set their passwords."""
    known = {name for (name,) in superuser.execute("SELECT rolname FROM pg_roles")}
    for group in _GROUPS:
        if group not in known:
            _run(superuser, "CREATE ROLE {} NOLOGIN", group)
    for login, password in logins.items():
        if login not in known:
            _run(superuser, "CREATE ROLE {} LOGIN", login)
        _run(superuser, "ALTER ROLE {} PASSWORD {}", login, password=password)
    for login, group in _MEMBERS.items():
        _run(superuser, "GRANT {} TO {}", group, login)
    # The owner makes logins for analysts, and may act as the roles that it makes.
    _run(superuser, "ALTER ROLE {} CREATEROLE", OWNER)
    _run(superuser, "ALTER ROLE {} SET createrole_self_grant = 'set'", OWNER)
    for group in (*_GROUPS, *({ANALYST} & known)):
        _run(superuser, "GRANT {} TO {} WITH ADMIN TRUE, INHERIT FALSE", group, OWNER)
    for login in LOGINS:
        _run(superuser, "GRANT pg_use_reserved_connections TO {}", login)
        superuser.execute(
            sql.SQL("ALTER ROLE {} SET temp_file_limit = {}").format(
                sql.Identifier(login), sql.Literal(_OWN_TEMPORARY_FILES)
            )
        )
    for login in _READS_ACTIVITY:
        _run(superuser, "GRANT pg_read_all_stats TO {}", login)
    superuser.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")


@dataclass(frozen=True, slots=True)
class OwnDatabase:
    """A database of the embedded server.

    Attributes:
        owner: The login that owns it and all in it.
        is_private: Whether no other login may connect.
    """

    name: str
    owner: str
    is_private: bool = False


def hand_over(superuser: psycopg.Connection, database: OwnDatabase) -> None:
    """Give a database to its owner and restrict the others; connected to it."""
    name, owner = database.name, database.owner
    _run(superuser, "ALTER DATABASE {} OWNER TO {}", name, owner)
    _run(superuser, "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", name)
    if database.is_private:
        _run(superuser, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
    for function in _LARGE_OBJECTS:
        superuser.execute(
            f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC".encode()
        )
    statements = superuser.execute(_TAKE_OVER, {"owner": owner}).fetchall()
    for (statement,) in statements:
        superuser.execute(statement.encode())


def _run(
    superuser: psycopg.Connection,
    statement: LiteralString,
    *names: str,
    password: str | None = None,
) -> None:
    values: list[sql.Composable] = [*map(sql.Identifier, names)]
    if password is not None:
        values.append(sql.Literal(password))
    superuser.execute(sql.SQL(statement).format(*values))
