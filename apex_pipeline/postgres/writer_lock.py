"""Locks that allow one writer, and one reconciliation, at a time on any host.

Each is a lock on an empty table, in a transaction of its own: any login may hold an
advisory lock, this one needs a privilege. Unlike a session's lock it works through a
transaction pooler, and it ends with its process, at the latest when its connection has
been silent for 90 seconds. The mode excludes itself, and neither reading the table nor
vacuum; it takes no transaction id.
"""

from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import LiteralString, Self

import psycopg
from psycopg import errors

from apex_pipeline.errors import WriterLockLostError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.lock_holders import (
    advisory_lock_holders,
    table_lock_holders,
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


@dataclass(frozen=True, slots=True)
class _Guard:
    """What excludes others.

    Attributes:
        table: Name of the empty table.
        lock: Locks it, or fails at once.
        former_lock: Takes the advisory lock of the release before this one, whose
            writers may still run.
        former_key: The number of that lock.
    """

    table: LiteralString
    lock: LiteralString
    former_lock: LiteralString
    former_key: int


_WRITER = _Guard(
    table="writer_lock",
    lock="LOCK TABLE writer_lock IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    former_lock="SELECT pg_try_advisory_xact_lock(730833204421057)",
    former_key=730833204421057,
)
_RECONCILIATION = _Guard(
    table="reconciliation_lock",
    lock="LOCK TABLE reconciliation_lock IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    former_lock="SELECT pg_try_advisory_xact_lock(730833204421058)",
    former_key=730833204421058,
)


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Somebody else has the lock.

    Attributes:
        holders: Role, application, process and since when, as far as our role may see;
            empty if they have let go of it meanwhile.
    """

    holders: str

    def told(self, what: str) -> str:
        """What is so, and by whom."""
        return f"{what}: {self.holders}" if self.holders else what


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


def try_writer_lock(database: Database) -> WriterLock | HeldElsewhere:
    """Take the lock, unless another writer holds it.

    Raises:
        psycopg.errors.InsufficientPrivilege: Our role may not hold it.
        psycopg.Error: It cannot be asked for.
    """
    return _try(database, _WRITER)


def try_reconciliation_lock(database: Database) -> WriterLock | HeldElsewhere:
    """Take the lock of the comparison, unless another process holds it.

    It is another lock than the writer's, so that a sync may go on meanwhile.

    Raises:
        psycopg.Error: As of `try_writer_lock`.
    """
    return _try(database, _RECONCILIATION)


def _try(database: Database, guard: _Guard) -> WriterLock | HeldElsewhere:
    connection = database.connect()
    try:
        connection.autocommit = True
        connection.begin(_LIMITS)
        connection.execute(_SET_UP)
        held = _take(connection, guard)
    except BaseException:
        connection.close()
        raise
    if held is None:
        return WriterLock(connection)
    connection.close()
    return held


def _take(connection: TimedConnection, guard: _Guard) -> HeldElsewhere | None:
    try:
        connection.execute(guard.lock)
    except errors.LockNotAvailable:
        connection.rollback()
        connection.begin(_LIMITS)
        return HeldElsewhere(table_lock_holders(connection, guard.table))
    if connection.execute(guard.former_lock).fetchone() == (True,):
        return None
    # Of those who hold the former lock only who might be a writer counts.
    holders = advisory_lock_holders(connection, guard.former_key, guard.table)
    return HeldElsewhere(holders) if holders else None
