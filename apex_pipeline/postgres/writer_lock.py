"""The lock that one writer at a time holds, wherever it runs, and its like.

Each is an advisory lock of a transaction: unlike a session's it works through a
transaction pooler, and it ends with its process, at the latest when its connection has
been silent for 90 seconds.
"""

from contextlib import suppress
from types import TracebackType
from typing import LiteralString, Self

import psycopg

from apex_pipeline.errors import WriterLockLostError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import limits_of
from apex_pipeline.postgres.timed_connection import TimedConnection

# Without bind parameters: the portal of a statement that has some keeps a snapshot
# until the transaction ends, and with it all that vacuum would clear away.
_SET_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = '90s'"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(730833204421057)"
_TRY_RECONCILIATION_LOCK = "SELECT pg_try_advisory_xact_lock(730833204421058)"
_PING = "SELECT 1"

# These do no work, so who does not answer them by then does not answer.
_PING_SECONDS = 10.0
_RELEASE_SECONDS = 2.0


class WriterLock:
    """The lock, held until it is released or lost.

    It has to be pinged more often than every 90 seconds; Postgres ends it otherwise.
    """

    def __init__(self, connection: TimedConnection) -> None:
        """Keep the connection whose open transaction holds the lock."""
        self._connection = connection

    def __enter__(self) -> Self:
        """Return the lock, which is held already."""
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
        """Show that we are alive, and see that the lock is still ours.

        Raises:
            WriterLockLostError: It is not. Another writer may have begun.
        """
        try:
            self._connection.limits = limits_of(_PING_SECONDS)
            self._connection.execute(_PING)
        except psycopg.Error as error:
            raise WriterLockLostError(
                f"The connection that held the writer lock is gone ({error}). Another "
                "run may have begun; this one stops sending."
            ) from error

    def release(self) -> None:
        """Let the next writer begin; nothing happens if the lock was lost."""
        with suppress(psycopg.Error):
            # Closing alone lets go of the lock when the server comes to see it: whoever
            # asks next might be refused by a run that is over.
            self._connection.limits = limits_of(_RELEASE_SECONDS)
            self._connection.rollback()
        self._connection.close()


def try_writer_lock(database: Database) -> WriterLock | None:
    """Take the lock, or return None if another writer holds it."""
    return _try(database, _TRY_LOCK)


def try_reconciliation_lock(database: Database) -> WriterLock | None:
    """Take the lock of whoever compares, or return None if another process does.

    It is another lock than the writer's, so that a sync may go on meanwhile.
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
