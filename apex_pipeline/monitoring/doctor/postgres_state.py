"""Checks of Postgres: reachable, and complete with tables, columns and indexes."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import psycopg

from apex_pipeline.metrics import ROW_COLUMNS
from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.machine import skew
from apex_pipeline.postgres import (
    dataverse_targets,
    declared_schema,
    migrations,
    pending_rows,
    run_ledger,
    stored_pacing,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.declared_schema import ObjectKind
from apex_pipeline.postgres.server_version import in_words, require_supported
from apex_pipeline.quarantine import decisions

_Result = TypeVar("_Result")

# Together less than the doctor's timeout, so a failing check can say why.
WAIT_SECONDS = 3.0
STATEMENT_SECONDS = 2.0
_APPLICATION = "apex_pipeline doctor"
_PAGE = 1000
_TABLE = "campaign_metrics"

_PENDING_INDEXES = """
    SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = 'campaign_metrics'::regclass AND indisvalid
        AND pg_get_expr(indpred, indrelid) = '(exported_at IS NULL)'
"""

_HAS_UNIQUE_ID = """
    SELECT EXISTS (
        SELECT FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = 'campaign_metrics'::regclass AND indisunique AND indisvalid
            AND indnkeyatts = 1 AND indpred IS NULL AND attname = 'id'
    )
"""

# What a member of apex_sync may not, in words; each only where our role may.
_BEYOND_NEED = """
    SELECT current_user, array_remove(ARRAY[
        CASE WHEN rolsuper THEN 'everything (superuser)' END,
        CASE WHEN NOT rolsuper AND (
            pg_has_role('pg_execute_server_program', 'USAGE')
            OR pg_has_role('pg_read_server_files', 'USAGE')
            OR pg_has_role('pg_write_server_files', 'USAGE')
        ) THEN 'run programs or use files of the server' END,
        CASE WHEN rolcreaterole THEN 'create roles' END,
        CASE WHEN rolcreatedb THEN 'create databases' END,
        CASE WHEN rolreplication THEN 'replicate' END,
        CASE WHEN rolbypassrls THEN 'bypass row-level security' END,
        CASE WHEN has_schema_privilege(current_schema(), 'CREATE')
            THEN 'create tables' END,
        CASE WHEN pg_has_role(relowner, 'USAGE') THEN 'alter and drop ' || relname END,
        CASE WHEN has_table_privilege(pg_class.oid, 'DELETE')
            THEN 'delete rows of ' || relname END,
        CASE WHEN has_table_privilege(pg_class.oid, 'UPDATE')
            THEN 'change all columns of ' || relname END
    ], NULL)
    FROM pg_roles, pg_class
    WHERE rolname = current_user AND pg_class.oid = to_regclass('campaign_metrics')
"""

# So it is in databases that Postgres 14 or older has made, wherever they run now.
_OPEN_TO_ALL = """
    SELECT nspname FROM pg_namespace, aclexplode(nspacl) AS entry
    WHERE nspname = current_schema() AND entry.grantee = 0
        AND entry.privilege_type = 'CREATE'
"""


class Postgres:
    """Probes of one database, each on its own connection."""

    def __init__(self, url: str, *, variable: str = "DATABASE_URL") -> None:
        """Keep the address without connecting.

        Args:
            url: Connection URL of the database.
            variable: Environment variable of the URL, for messages.

        Raises:
            ConfigError: The URL is not a Postgres URL.
        """
        self._url = url
        self._variable = variable
        self._database = self.open_database()

    def reachable(self) -> Measurement:
        """Connect and read the server's version.

        Raises:
            ConfigError: It is too old.
            DatabaseError: The server does not answer.
        """
        began = time.monotonic()
        version = self._ask(lambda c: c.info.server_version)
        seconds = time.monotonic() - began
        require_supported(version)
        return ok(
            f"Postgres {in_words(version)} at "
            f"{self._database.address}, {1000 * seconds:,.0f} ms to connect"
        )

    def migrations(self) -> Measurement:
        """Check that all migrations in sql/ are applied."""
        names = migrations.unapplied(
            self._url, wait_seconds=WAIT_SECONDS, statement_seconds=STATEMENT_SECONDS
        )
        return failed(f"not applied: {', '.join(names)}") if names else ok("current")

    def relations(self) -> Measurement:
        """Check that tables and views exist and the statements of a sync can read them."""
        if missing := self._missing(ObjectKind.RELATION):
            return failed(f"missing: {_names(missing)}")
        if columns := self._ask(
            lambda c: declared_schema.lacking(c, _TABLE, ROW_COLUMNS)
        ):
            return failed(
                f"{_TABLE} has no column {', '.join(columns)}",
                "It was renamed or dropped. If renamed, restore its name with ALTER TABLE "
                "… RENAME COLUMN.",
            )
        with self.open_database() as database:
            # A column that is not there fails the statement that reads it.
            database.ask(pending_rows.page, None, 1)
            database.ask(decisions.count)
            database.ask(run_ledger.last_runs, 1)
            database.ask(stored_pacing.pacing, "")
            database.ask(dataverse_targets.target, "")
        return ok("all there, and readable")

    def indexes(self) -> Measurement:
        """Check that the indexes exist and are valid, under any name."""
        missing = self._missing(ObjectKind.INDEX)
        return failed(f"missing: {_names(missing)}") if missing else ok("all exist")

    def plan(self) -> Measurement:
        """Check that the pending query can use an index.

        Sequential scans are disabled for the test, because Postgres rightly prefers
        one for a small table.
        """

        def explain(connection: psycopg.Connection) -> tuple[set[str], set[str]]:
            with connection.transaction():
                connection.execute("SET LOCAL enable_seqscan = off")
                found = connection.execute(
                    f"EXPLAIN (FORMAT JSON) {pending_rows.FIRST_PAGE}".encode(),
                    {"limit": _PAGE},
                ).fetchone()
                fitting = connection.execute(_PENDING_INDEXES).fetchall()
            plan = json.dumps(found[0], allow_nan=False) if found else ""
            return _indexes_in(plan), {name for (name,) in fitting}

        used, fitting = self._ask(explain)
        asked = "EXPLAIN of the first page, enable_seqscan off"
        if used & fitting:
            return ok(f"uses {', '.join(sorted(used & fitting))} ({asked})")
        return failed(f"uses {', '.join(sorted(used)) or 'no index'} ({asked})")

    def unique_id(self) -> Measurement:
        """Check that `id` is unique; a table that existed before may lack the key."""

        def ask(connection: psycopg.Connection) -> bool:
            return connection.execute(_HAS_UNIQUE_ID).fetchone() == (True,)

        return ok("unique") if self._ask(ask) else warning("no unique key on id")

    def role(self) -> Measurement:
        """Say what our role may do beyond need; one role for everything works too."""

        def ask(connection: psycopg.Connection) -> tuple[str, list[str]]:
            row = connection.execute(_BEYOND_NEED).fetchone()
            return (str(row[0]), list(row[1])) if row else ("", [])

        name, beyond = self._ask(ask)
        if not beyond:
            return ok(f"{name}, which may do nothing else")
        return ok(
            f"{name}, which may also: {', '.join(beyond)}. To give it less, use a member "
            "of apex_sync"
        )

    def schema(self) -> Measurement:
        """Check that not every login may create objects beside our tables.

        Otherwise a login can plant a function that Postgres prefers to the intended one.
        It runs with its caller's rights.
        """

        def ask(connection: psycopg.Connection) -> str | None:
            row = connection.execute(_OPEN_TO_ALL).fetchone()
            return None if row is None else str(row[0])

        name = self._ask(ask)
        if name is None:
            return ok("only roles that were granted it may create objects")
        return warning(
            f"every role of the database may create objects in the schema {name}",
            "If no other program relies on it, run as the schema's owner: REVOKE CREATE "
            f"ON SCHEMA {name} FROM PUBLIC.",
        )

    def clock(self, now: Callable[[], datetime]) -> Measurement:
        """Compare the server's clock with this machine's."""

        def ask(connection: psycopg.Connection) -> tuple[datetime, datetime]:
            before = now()
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            after = now()
            theirs: datetime = row[0] if row else before
            return theirs, before + (after - before) / 2

        return skew(*self._ask(ask))

    def open_database(self) -> Database:
        """The database, to be closed by the caller; checks run side by side."""
        return Database(
            self._url,
            wait_seconds=WAIT_SECONDS,
            statement_seconds=STATEMENT_SECONDS,
            application_name=_APPLICATION,
            variable=self._variable,
        )

    def _missing(self, kind: ObjectKind) -> dict[str, list[str]]:
        return migrations.missing(
            self._url,
            kind,
            wait_seconds=WAIT_SECONDS,
            statement_seconds=STATEMENT_SECONDS,
        )

    def _ask(self, work: Callable[[psycopg.Connection], _Result]) -> _Result:
        with self._database.session() as connection:
            return work(connection)


def _names(missing: dict[str, list[str]]) -> str:
    return ", ".join(name for names in missing.values() for name in names)


def _indexes_in(plan: str) -> set[str]:
    """Names of the indexes that a JSON plan uses."""
    found: set[str] = set()

    def keep(node: dict[str, object]) -> dict[str, object]:
        if "Index Name" in node:
            found.add(str(node["Index Name"]))
        return node

    json.loads(plan, object_hook=keep)
    return found
