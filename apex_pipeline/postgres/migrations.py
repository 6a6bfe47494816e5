"""The database schemas: plain SQL files, applied in order, each once.

A kill does no harm. The process that applies them holds a lock that ends with its
connection. A lock row of yoyo that exists under that lock is left from a dead
process. And each file can be applied again after half of it was applied.
"""

import glob
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import psycopg
import yoyo
from psycopg import errors
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration, MigrationList

from apex_pipeline.errors import DatabaseUnavailableError
from apex_pipeline.postgres import declared_schema
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.server_version import require_supported
from apex_pipeline.postgres.table_locks import MIGRATIONS, HeldElsewhere, take
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS, Limits, limits_of

_HAS_LOCK_TABLE = "SELECT to_regclass('migration_lock') IS NOT NULL"
_CREATE_LOCK_TABLE = "CREATE TABLE IF NOT EXISTS migration_lock ()"
_TRY_SECONDS = 20.0
_PAUSE_SECONDS = 0.5

# All others queue behind a statement that waits to change a table. So it waits for one
# second and leaves the table to them for two. Building an index blocks no one.
_LOCK_SECONDS = 1.0
_LOCK_PAUSE_SECONDS = 2.0
_CANCEL_SECONDS = 5.0
# The lock of the migrations is held as long; building an index takes far less.
_LIMITS = Limits(statement=3600.0, lock=_LOCK_SECONDS)


class Part(StrEnum):
    """A folder of migrations; both may go into the same database."""

    METRICS = ""
    """The tables next to `campaign_metrics`."""
    ALERTS = "alerts"
    """The tables next to Dagster's storage."""


def apply(
    url: str, part: Part = Part.METRICS, *, wait_seconds: float = 30.0
) -> list[str]:
    """Bring a schema up to date.

    Args:
        url: The database.
        part: Which schema.
        wait_seconds: How long to wait for a suspended server, for another process that
            applies migrations, and for transactions that lock a table.

    Returns:
        Names of the migrations applied now, including those applied again because
        something that they create was missing.

    Raises:
        ConfigError: The server is too old.
        DatabaseError: The database does not exist, or the user may not change it.
    """
    database = Database(
        url, wait_seconds=wait_seconds, application_name="apex_pipeline migrations"
    )
    patience = _Patience(time.monotonic() + wait_seconds)
    # A role that owns nothing may find all there, and take no lock.
    if not pending(url, part, wait_seconds=wait_seconds):
        return []
    with (
        database,
        database.translated(),
        _mutex(database, patience),
        _Backend(database, patience) as backend,
    ):
        backend.create_lock_table()
        backend.break_lock()
        every = _read(part)
        outstanding = list(backend.to_apply(every))
        lost = _lost(database, [each for each in every if each not in outstanding])
        with backend.lock():
            for migration in every:
                if migration.id in lost:
                    # First marked as not applied: after a kill, the next run does it.
                    backend.unmark_one(migration)
                    outstanding.append(migration)
            again = [each for each in every if each in outstanding]
            for migration in again:
                _apply_one(backend, migration)
        return [migration.id for migration in again]


def pending(
    url: str, part: Part = Part.METRICS, *, wait_seconds: float = 30.0
) -> list[str]:
    """Name the migrations that `apply` would apply, or apply again; changes nothing."""
    database = Database(
        url, wait_seconds=wait_seconds, application_name="apex_pipeline migrations"
    )
    every = _read(part)
    new = unapplied(url, part, wait_seconds=wait_seconds)
    with database:
        lost = _lost(database, [each for each in every if each.id not in new])
    return [each.id for each in every if each.id in {*new, *lost}]


def unapplied(
    url: str,
    part: Part = Part.METRICS,
    *,
    wait_seconds: float = 30.0,
    statement_seconds: float = STATEMENT_SECONDS,
) -> list[str]:
    """Name the migrations that were never applied; changes nothing."""
    database = _reading(url, wait_seconds, statement_seconds)
    with database, database.session() as connection:
        require_supported(connection.info.server_version)
        found = connection.execute(
            "SELECT to_regclass('_yoyo_migration') IS NOT NULL"
        ).fetchone()
        applied = set()
        if found == (True,):
            rows = connection.execute("SELECT migration_id FROM _yoyo_migration")
            applied = {name for (name,) in rows}
        return [m.id for m in _read(part) if m.id not in applied]


def missing(
    url: str,
    kind: declared_schema.Kind,
    *,
    wait_seconds: float = 30.0,
    statement_seconds: float = STATEMENT_SECONDS,
) -> dict[str, list[str]]:
    """Name the objects that are missing although their migration is applied."""
    database = _reading(url, wait_seconds, statement_seconds)
    with database, database.session() as connection:
        return declared_schema.missing(connection, _sources(_read(Part.METRICS)), kind)


def contents(part: Part = Part.METRICS) -> dict[str, list[str]]:
    """Name every migration, with the tables and views that it creates."""
    return {
        name: declared_schema.relations({name: source})
        for name, source in _sources(_read(part)).items()
    }


def _reading(url: str, wait_seconds: float, statement_seconds: float) -> Database:
    return Database(
        url,
        wait_seconds=wait_seconds,
        statement_seconds=statement_seconds,
        application_name="apex_pipeline migrations",
    )


def _lost(database: Database, every: Sequence[Migration]) -> set[str]:
    """The migrations of which something is missing, and those that alter it."""
    with database.session() as connection:
        sources = _sources(every)
        missing_by_kind = [
            declared_schema.missing(connection, sources, kind)
            for kind in declared_schema.Kind
        ]
    names = {
        name for found in missing_by_kind for each in found.values() for name in each
    }
    return {migration for found in missing_by_kind for migration in found} | {
        migration
        for migration, text in sources.items()
        if names & declared_schema.altered(text)
    }


def _sources(every: Sequence[Migration]) -> dict[str, str]:
    return {each.id: Path(each.path).read_text() for each in every}


@dataclass(slots=True)
class _Patience:
    """How long to wait for others, and which sessions blocked us last, if any."""

    ends_at: float
    holders: str = ""

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self.ends_at


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # ships no types
    """yoyo's backend on our own connections.

    It never waits long for a transaction that locks a table, because all writers to the
    table would queue behind it.
    """

    create_lock_table_sql = PostgresqlPsycopgBackend.create_lock_table_sql.replace(
        "CREATE TABLE", "CREATE TABLE IF NOT EXISTS"
    )

    def __init__(self, database: Database, patience: "_Patience") -> None:
        self._database = database
        self.patience = patience
        super().__init__(database.address, "_yoyo_migration")

    def connect(self, _: str) -> psycopg.Connection:
        connection = self._database.connect()
        connection.autocommit = True
        connection.limits = _LIMITS
        find = connection.find_holders

        def look() -> str:
            self.patience.holders = find() or self.patience.holders
            if self.patience.holders and self.patience.is_over:
                # Building an index waits for older transactions without a limit.
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=_CANCEL_SECONDS)
            return self.patience.holders

        connection.find_holders = look
        return connection

    def copy(self) -> "_Backend":
        return _Backend(self._database, self.patience)

    def list_tables(self, **_: object) -> list[str]:
        rows = self.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        return [name for (name,) in rows]

    def begin(self) -> None:
        super().begin()
        self.execute(_LIMITS.settings)

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, object]:
        # The inherited method queries DNS for the host's full name, and fails for a user
        # without a name, which is common in containers.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": str(os.getuid()),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


@contextmanager
def _mutex(database: Database, patience: _Patience) -> Iterator[None]:
    """Exclude other processes until the block ends or this process dies."""
    with database.connect() as connection:
        require_supported(connection.info.server_version)
        _create_lock_table(connection)
        while (held := _try_lock(connection)) is not None:
            # A statement that waits would keep a snapshot all the time.
            connection.rollback()
            if patience.is_over:
                busy = f"Another process is applying migrations at {database.address}"
                raise DatabaseUnavailableError(
                    f"{held.told(busy)}. Retry when it has finished."
                )
            time.sleep(_PAUSE_SECONDS)
        yield


def _create_lock_table(connection: psycopg.Connection) -> None:
    # No migration can make what the first migration needs.
    if connection.execute(_HAS_LOCK_TABLE).fetchone() == (False,):
        # Two at once: one of them finds the other's entry in the catalogue.
        with suppress(
            errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject
        ):
            connection.execute(_CREATE_LOCK_TABLE)
    # After the error it rolls back.
    connection.commit()


def _try_lock(connection: psycopg.Connection) -> HeldElsewhere | None:
    # Neon ends a transaction that is idle for five minutes; building an index may take
    # longer.
    connection.execute(
        f"{limits_of(_TRY_SECONDS).settings}; "
        "SET LOCAL idle_in_transaction_session_timeout = '1h'".encode()
    )
    return take(connection, MIGRATIONS)


def _apply_one(backend: _Backend, migration: Migration) -> None:
    while True:
        try:
            backend.apply_one(migration)
        except errors.DuplicateTable:
            if migration.use_transactions:
                raise
            # The migration's way to say that the index exists under another name.
            backend.mark_migrations([migration])
            return
        except (errors.LockNotAvailable, errors.QueryCanceled) as error:
            patience = backend.patience
            if patience.is_over:
                raise DatabaseUnavailableError(
                    f"{migration.id} could not be applied: "
                    f"{patience.holders or 'another transaction'} locks the table. "
                    "It changed nothing; retry when that transaction has ended."
                ) from error
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return


def _read(part: Part) -> MigrationList:
    package = Path(__file__).parents[1]
    # In a wheel, the files are inside the package; in a checkout, next to it.
    folder = next(f for f in (package / "sql", package.parent / "sql") if f.is_dir())
    return yoyo.read_migrations(glob.escape(str(folder / part)))
