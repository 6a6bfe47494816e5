"""Read from Postgres: its version, our tables, and the rights of analysts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database

_SERVER = """
    SELECT current_setting('server_version'),
        pg_size_pretty(pg_database_size(current_database())),
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE)
"""

_RELATIONS = """
    SELECT relname, CASE relkind WHEN 'v' THEN 'view' ELSE 'table' END,
        (SELECT count(*) FROM pg_attribute
            WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped),
        CASE WHEN relkind <> 'v'
            THEN pg_size_pretty(pg_total_relation_size(pg_class.oid)) END,
        coalesce(obj_description(pg_class.oid, 'pg_class'), '')
    FROM pg_class
    WHERE pg_class.oid = ANY (
        SELECT to_regclass(name) FROM unnest(%(names)s::text[]) AS made (name)
    )
    ORDER BY 2, relname
"""

_MIGRATIONS = """
    SELECT migration_id, applied_at_utc FROM _yoyo_migration
    WHERE migration_id = ANY (%(names)s::text[])
    ORDER BY migration_id
"""

_ANALYST = """
    SELECT
        to_regrole('apex_analyst') IS NOT NULL,
        coalesce(has_table_privilege(
            to_regrole('apex_analyst'), 'campaign_metrics', 'SELECT'
        ), FALSE),
        coalesce((SELECT rolcanlogin OR rolsuper FROM pg_roles
            WHERE rolname = 'apex_analyst'), FALSE),
        (SELECT count(*) FROM analyst_object
            WHERE to_regclass(name) IS NOT NULL AND (
                has_table_privilege(to_regrole('apex_analyst'), to_regclass(name), 'INSERT')
                OR has_table_privilege(
                    to_regrole('apex_analyst'), to_regclass(name), 'UPDATE')
                OR has_table_privilege(
                    to_regrole('apex_analyst'), to_regclass(name), 'DELETE')
            ))
"""


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The server, as this connection sees it."""

    version: str
    database_size: str
    is_encrypted: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or a view; the size is None for a view."""

    name: str
    kind: str
    columns: int
    size: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class Analyst:
    """The rights of the role `apex_analyst`.

    Attributes:
        writable: Number of analysts' tables that it may change.
    """

    exists: bool
    reads_raw_rows: bool
    can_log_in: bool
    writable: int


def read_server(database: Database) -> DatabaseServer:
    """Read the server's version, size and encryption.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return database.transact(
        lambda c: DatabaseServer(*c.exec_driver_sql(_SERVER).one()), repeatable=True
    )


def read_relations(database: Database, names: Sequence[str]) -> list[Relation]:
    """Read tables and views by name, tables first; missing ones are left out.

    Raises:
        DatabaseError: Postgres does not answer.
    """

    def read(connection: Connection) -> list[Relation]:
        found = connection.exec_driver_sql(_RELATIONS, {"names": list(names)})
        return [Relation(*row) for row in found]

    return database.transact(read, repeatable=True)


def read_migrations(
    database: Database, names: Sequence[str]
) -> list[tuple[str, datetime]]:
    """Which of these migrations are applied, and when they were.

    Raises:
        SchemaMissingError: No migration was ever applied.
        DatabaseError: Postgres does not answer.
    """

    def read(connection: Connection) -> list[tuple[str, datetime]]:
        found = connection.exec_driver_sql(_MIGRATIONS, {"names": list(names)})
        return [(name, at.replace(tzinfo=UTC)) for name, at in found]

    return database.transact(read, repeatable=True)


def read_analyst(database: Database) -> Analyst:
    """Read the rights of analysts.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """
    return database.transact(
        lambda c: Analyst(*c.exec_driver_sql(_ANALYST).one()), repeatable=True
    )
