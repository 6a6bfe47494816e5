"""Locks that allow one writer, and one reconciliation, at a time on any host.

Each is an advisory lock of a transaction. Unlike a session's lock, it works through a
transaction pooler. It ends with its process, at the latest when its connection has been
silent for 90 seconds.
"""

from contextlib import suppress
from types import TracebackType
from typing import LiteralString, Self

import psycopg

from apex_pipeline.errors import WriterLockLostError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import limits_of
from apex_pipeline.postgres.timed_connection import TimedConnection

# No bind parameters: the portal of a statement with parameters keeps a snapshot until
# the transaction ends, and that stops vacuum from removing dead rows.
_SET_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '90s'"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(730833204421057)"
_TRY_RECONCILIATION_LOCK = "SELECT pg_try_advisory_xact_lock(730833204421058)"
_PING = "SELECT 1"

# These statements do no work, so a server that takes longer does not answer at all.
_PING_SECONDS = 10.0
_RELEASE_SECONDS = 2.0


class WriterLock:
    """The lock, held until it is released or lost.

    Ping it more often than every 90 seconds, or Postgres ends it.
    """

    def __init__(self, connection: TimedConnection) -> None:
        """Keep the connection whose open transaction holds the lock."""
        self._connection = connection

    def __enter__(self) -> Self:
        """Return the lock, which is already held."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.release()

    def ping(self) -> None:
        """Keep the lock alive, and check that it is still ours.

        Raises:
            WriterLockLostError: The lock is lost; another writer may have started.
        """
        try:
            self._connection.limits = limits_of(_PING_SECONDS)
            self._connection.execute(_PING)
        except psycopg.Error as error:
            raise WriterLockLostError(
                f"The connection that held the writer lock was lost ({error}). Another "
                "run may have started; this one stops sending."
            ) from error

    def release(self) -> None:
        """Release the lock; does nothing if it was lost."""
        with suppress(psycopg.Error):
            # Closing alone releases the lock only when the server notices it. Until
            # then, a run that is over would block the next one.
            self._connection.limits = limits_of(_RELEASE_SECONDS)
            self._connection.rollback()
        self._connection.close()


def try_writer_lock(database: Database) -> WriterLock | None:
    """Take the lock, or return None if another writer holds it."""
    return _try(database, _TRY_LOCK)


def try_reconciliation_lock(database: Database) -> WriterLock | None:
    """Take the lock for reconciliation, or return None if another process holds it.

    It differs from the writer lock, so a sync can run at the same time.
    """
    return _try(database, _TRY_RECONCILIATION_LOCK)


def _try(database: Database, statement: LiteralString) -> WriterLock | None:
    connection = database.connect()
    try:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.execute(_SET_PATIENCE)
        locked = connection.execute(statement).fetchone() == (True,)
    except BaseException:
        connection.close()
        raise
    if locked:
        return WriterLock(connection)
    connection.close()
    return None
