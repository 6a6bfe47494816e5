"""Find the sessions that hold the lock that one of our statements waits for."""

from datetime import UTC, datetime
from typing import LiteralString

import psycopg
from sqlalchemy import Connection

# A pooler hides which of the server's processes is ours, so all with our application
# name count. A session that waits for others is not the cause; those others are.
_HOLDERS = """
    WITH RECURSIVE blocking (pid, depth) AS (
        SELECT unnest(pg_blocking_pids(pid)), 1 FROM pg_stat_activity
        WHERE application_name = current_setting('application_name')
            AND usename = current_user AND datname = current_database()
            AND wait_event_type = 'Lock'
        UNION
        SELECT unnest(pg_blocking_pids(pid)), depth + 1 FROM blocking WHERE depth < 5
    )
    SELECT DISTINCT pid, usename, application_name, xact_start, state
    FROM blocking LEFT JOIN pg_stat_activity USING (pid)
    WHERE cardinality(pg_blocking_pids(pid)) = 0
    ORDER BY xact_start, pid
    LIMIT 3
"""

_TABLE_HOLDERS = """
    SELECT pid, usename, application_name, xact_start, state
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'relation' AND relation = to_regclass(%(table)s) AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode NOT IN ('AccessShareLock', 'RowShareLock')
    ORDER BY xact_start, pid
    LIMIT 3
"""

# A transaction that has locked or changed a row of a table keeps such a lock on the table.
_ROW_HOLDERS = """
    SELECT DISTINCT pid, usename, application_name, xact_start, state
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'relation' AND relation = to_regclass(%(table)s) AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode <> 'AccessShareLock'
        AND application_name IS DISTINCT FROM current_setting('application_name')
    ORDER BY xact_start, pid
    LIMIT 3
"""
# The number is written in without a bind parameter: see `writer_lock`.
_ADVISORY_HOLDERS = """
    SELECT pid, usename, application_name, xact_start, state
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND (CAST(classid AS bigint) << 32) + CAST(objid AS bigint) = {key}
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND has_table_privilege(usesysid, to_regclass('{table}'), 'UPDATE')
    ORDER BY xact_start, pid
    LIMIT 3
"""


def find_holders(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """Name the sessions that block sessions with our application name; may be empty.

    Details that our role may not see are left out: without `pg_read_all_stats`, the
    start and the state.

    Args:
        connection: In autocommit, with the application name and role of the waiter.

    Raises:
        psycopg.Error: The query failed.
    """
    rows = connection.execute(_HOLDERS).fetchall()
    return " and ".join(_holder(*row) for row in rows)


def table_lock_holders(
    connection: psycopg.Connection[tuple[object, ...]], table: str
) -> str:
    """Name the sessions that hold a lock on a table in a mode that keeps writers out.

    Raises:
        psycopg.Error: It cannot be asked.
    """
    rows = connection.execute(_TABLE_HOLDERS, {"table": table}).fetchall()
    return " and ".join(_holder(*row) for row in rows)


def row_lock_holders(connection: Connection, table: str) -> str:
    """Name the sessions that may hold locks on rows of a table; may be empty.

    Sessions with our own application name are left out.

    Raises:
        sqlalchemy.exc.DBAPIError: It cannot be asked.
    """
    rows = connection.exec_driver_sql(_ROW_HOLDERS, {"table": table})
    return " and ".join(_holder(*row) for row in rows.tuples())


def advisory_lock_holders(
    connection: psycopg.Connection[tuple[object, ...]], key: int, table: LiteralString
) -> str:
    """Name the sessions that hold an advisory lock, of roles that may update a table.

    Raises:
        psycopg.Error: It cannot be asked.
    """
    statement = _ADVISORY_HOLDERS.format(key=int(key), table=table)
    rows = connection.execute(statement.encode()).fetchall()
    return " and ".join(_holder(*row) for row in rows)


def _holder(
    pid: object, role: object, application: object, since: object, state: object
) -> str:
    if not pid:
        return "a prepared transaction (see pg_prepared_xacts)"
    details = [f"application {application}"] if application else []
    details.append(f"process {pid}")
    if isinstance(since, datetime):
        details.append(f"since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
    if state and state != "active":
        details.append(f"now {state}")
    return f"role {role or 'unknown'} ({', '.join(details)})"
