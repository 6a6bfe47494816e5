"""Locks that need a privilege: each locks an empty table.

Any login may hold an advisory lock, and would stop the pipeline with it. The mode
excludes itself, but not reading the table; it takes no transaction id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors, sql

from apex_pipeline.postgres.lock_holders import (
    advisory_lock_holders,
    table_lock_holders,
)

# No bind parameters: the portal of a statement with parameters keeps a snapshot until
# the transaction ends. That stops vacuum from removing dead rows, and building an index
# concurrently waits for it.


@dataclass(frozen=True, slots=True)
class Guard:
    """What excludes others.

    Attributes:
        table: Name of the empty table.
        former_key: Number of the advisory lock of the release before this one, which may
            still run elsewhere.
    """

    table: LiteralString
    former_key: int

    @property
    def lock(self) -> sql.Composed:
        """Locks the table, or fails at once."""
        statement = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE NOWAIT")
        return statement.format(sql.Identifier(self.table))

    @property
    def former_lock(self) -> sql.Composed:
        """Takes the former lock, and tells whether it was free."""
        return sql.SQL("SELECT pg_try_advisory_xact_lock({})").format(self.former_key)


WRITER = Guard("writer_lock", 730833204421057)
RECONCILIATION = Guard("reconciliation_lock", 730833204421058)
MIGRATIONS = Guard("migration_lock", 730833204421056)


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """Another session has the lock.

    Attributes:
        holders: Role, application, process and since when, as far as our role may see;
            empty if they have released it meanwhile.
    """

    holders: str

    def told(self, what: str) -> str:
        """A sentence of what is so, and of who holds the lock."""
        return f"{what}: {self.holders}" if self.holders else what


def take(
    connection: psycopg.Connection[tuple[object, ...]],
    guard: Guard,
    begin: Callable[[], object] = lambda: None,
) -> HeldElsewhere | None:
    """Take the lock until the transaction ends, unless another session has it.

    Args:
        connection: In a transaction.
        guard: The lock.
        begin: Begins another transaction, to look who has it.

    Raises:
        psycopg.errors.InsufficientPrivilege: Our role may not hold it.
        psycopg.Error: It cannot be asked for.
    """
    try:
        connection.execute(guard.lock)
    except errors.LockNotAvailable:
        connection.rollback()
        begin()
        return HeldElsewhere(table_lock_holders(connection, guard.table))
    if connection.execute(guard.former_lock).fetchone() == (True,):
        return None
    # Of those who hold the former lock, only those who may take the new one count.
    holders = advisory_lock_holders(connection, guard.former_key, guard.table)
    return HeldElsewhere(holders) if holders else None
