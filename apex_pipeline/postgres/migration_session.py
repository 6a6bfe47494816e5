"""Applying migrations beside an application that works: one process, short waits.

yoyo records what was applied. Its connections are ours here, so a statement that
changes a table never keeps the table's writers waiting for long.
"""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import errors
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import Migration

from apex_pipeline.errors import DatabaseUnavailableError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.server_version import require_supported
from apex_pipeline.postgres.table_locks import MIGRATIONS, HeldElsewhere, take
from apex_pipeline.postgres.time_limits import StatementLimits, limits_of

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
_LIMITS = StatementLimits(statement=3600.0, lock=_LOCK_SECONDS)


@dataclass(slots=True)
class LockPatience:
    """How long to wait for others, and which sessions blocked us last, if any."""

    ends_at: float
    holders: str = ""

    @property
    def is_over(self) -> bool:
        """Whether there is no time left to wait."""
        return time.monotonic() > self.ends_at


class Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # ships no types
    """yoyo's backend on our own connections.

    It never waits long for a transaction that locks a table, because all writers to the
    table would queue behind it.
    """

    create_lock_table_sql = PostgresqlPsycopgBackend.create_lock_table_sql.replace(
        "CREATE TABLE", "CREATE TABLE IF NOT EXISTS"
    )

    def __init__(self, database: Database, patience: "LockPatience") -> None:
        self._database = database
        self.patience = patience
        super().__init__(database.address, "_yoyo_migration")

    def connect(self, _: str) -> psycopg.Connection:
        """A connection that waits briefly, and learns who blocks it."""
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

    def copy(self) -> "Backend":
        """Another of its kind; yoyo wants one for its lock."""
        return Backend(self._database, self.patience)

    def list_tables(self, **_: object) -> list[str]:
        """The tables of our schema."""
        rows = self.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        return [name for (name,) in rows]

    def drop_empty_records(self) -> None:
        """Drop yoyo's tables where a copy of the schema alone has left them empty."""
        if "_yoyo_version" not in self.list_tables():
            return
        ((is_empty,),) = self.execute(
            "SELECT NOT EXISTS (SELECT FROM _yoyo_version) "
            "AND NOT EXISTS (SELECT FROM _yoyo_migration)"
        )
        if is_empty:
            self.execute("DROP TABLE _yoyo_version, _yoyo_migration, _yoyo_log")

    def begin(self) -> None:
        """Open a transaction with our time limits."""
        super().begin()
        self.execute(_LIMITS.settings)

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, object]:
        """What yoyo stores about who applied a migration."""
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
def exclusive(database: Database, patience: LockPatience) -> Iterator[None]:
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


def apply_one(backend: Backend, migration: Migration) -> None:
    """Apply a migration, and retry while another transaction locks the table.

    Raises:
        DatabaseUnavailableError: The lock lasted longer than our patience.
    """
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
