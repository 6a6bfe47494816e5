"""Locks that allow one writer, and one reconciliation, at a time on any host.

Each is a lock on an empty table, in a transaction of its own. Unlike a session's lock it
works through a transaction pooler, and it ends with its process, at the latest when its
connection has been silent for 90 seconds.
"""

from contextlib import suppress
from typing import Self

import psycopg

from apex_pipeline.errors import WriterLockLostError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.table_locks import (
    RECONCILIATION,
    WRITER,
    Guard,
    HeldElsewhere,
    take,
)
from apex_pipeline.postgres.time_limits import limits_of
from apex_pipeline.postgres.timed_connection import TimedConnection

# No bind parameters: the portal of a statement with parameters keeps a snapshot until
# the transaction ends, and that stops vacuum from removing dead rows.
_SET_UP = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    "SET LOCAL idle_in_transaction_session_timeout = '90s'"
)
_PING = "SELECT 1"

# These statements do no work, so a server that takes longer does not answer at all.
_LIMITS = limits_of(10.0)
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

    def __exit__(self, *_: object) -> None:
        self.release()

    def ping(self) -> None:
        """Keep the lock alive, and check that it is still ours.

        Raises:
            WriterLockLostError: The lock is lost; another writer may have started.
        """
        try:
            self._connection.execute(_PING)
        except psycopg.Error as error:
            raise WriterLockLostError(
                f"The connection that held the writer lock was lost ({error}). Another "
                "run may have started; this one stops sending."
            ) from error

    def release(self) -> None:
        """Release the lock; does nothing if it was lost."""
        _end(self._connection)


def try_writer_lock(database: Database) -> WriterLock | HeldElsewhere:
    """Take the lock, unless another writer holds it.

    Raises:
        psycopg.errors.InsufficientPrivilege: Our role may not hold it.
        psycopg.Error: It cannot be asked for.
    """
    return _try(database, WRITER)


def try_reconciliation_lock(database: Database) -> WriterLock | HeldElsewhere:
    """Take the lock of the comparison, unless another process holds it.

    It is another lock than the writer's, so a sync may go on meanwhile.

    Raises:
        psycopg.Error: As of `try_writer_lock`.
    """
    return _try(database, RECONCILIATION)


def _try(database: Database, guard: Guard) -> WriterLock | HeldElsewhere:
    connection = database.connect()
    try:
        connection.autocommit = True
        connection.begin(_LIMITS)
        connection.execute(_SET_UP)
        held = take(connection, guard, lambda: connection.begin(_LIMITS))
    except BaseException:
        connection.close()
        raise
    if held is None:
        return WriterLock(connection)
    _end(connection)
    return held


def _end(connection: TimedConnection) -> None:
    with suppress(psycopg.Error):
        # Closing alone releases the locks only when the server notices it. Until then, a
        # run that is over, or that took only one of them, would block the next one.
        connection.limits = limits_of(_RELEASE_SECONDS)
        connection.rollback()
    connection.close()
