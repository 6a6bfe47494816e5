"""Locks that need a privilege: each is one on an empty table of ours.

Any login may hold an advisory lock, and would stop the pipeline with it. The mode
excludes itself, but not reading the table; it takes no transaction id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import errors

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
        lock: Locks it, or fails at once.
        former_lock: Takes the advisory lock of the release before this one, which may
            still run elsewhere.
        former_key: The number of that lock.
    """

    table: LiteralString
    lock: LiteralString
    former_lock: LiteralString
    former_key: int


WRITER = Guard(
    table="writer_lock",
    lock="LOCK TABLE writer_lock IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    former_lock="SELECT pg_try_advisory_xact_lock(730833204421057)",
    former_key=730833204421057,
)
RECONCILIATION = Guard(
    table="reconciliation_lock",
    lock="LOCK TABLE reconciliation_lock IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    former_lock="SELECT pg_try_advisory_xact_lock(730833204421058)",
    former_key=730833204421058,
)
MIGRATIONS = Guard(
    table="migration_lock",
    lock="LOCK TABLE migration_lock IN SHARE ROW EXCLUSIVE MODE NOWAIT",
    former_lock="SELECT pg_try_advisory_xact_lock(730833204421056)",
    former_key=730833204421056,
)


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
