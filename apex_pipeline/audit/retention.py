"""Prune old events, and leave a checkpoint from which the rest still verifies.

The checkpoint is the pruning event itself: it says through which event, with which hash,
the trail was cut, who did it and why. Only events up to an anchor are pruned, so the
place of the cut is also known elsewhere.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import Transacting, append
from apex_pipeline.texts.durations import words

# All events up to the anchor are at least as old as the one that it covers.
_CUT = """
    SELECT anchor.sequence, encode(anchor.hash, 'hex'),
        (SELECT count(*) FROM audit_event WHERE sequence <= anchor.sequence)
    FROM audit_anchor AS anchor
    JOIN audit_event AS event ON event.sequence = anchor.sequence
        AND event.hash = anchor.hash
    WHERE event.at < clock_timestamp() - %(keep)s
        AND anchor.anchored_at < clock_timestamp() - %(keep)s
    ORDER BY anchor.sequence DESC
    LIMIT 1
"""

_PRUNE = "DELETE FROM audit_event WHERE sequence <= %(through)s"

# No role has DELETE; the owner grants it to itself for this transaction.
_GRANT = "GRANT DELETE ON audit_event TO CURRENT_USER"
_REVOKE = "REVOKE DELETE ON audit_event FROM CURRENT_USER"

_MAY_PRUNE = """
    SELECT pg_has_role(relowner, 'USAGE') FROM pg_class
    WHERE oid = to_regclass('audit_event')
"""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the trail may be cut.

    Attributes:
        through: The last event that goes.
        hash: Its hash, hexadecimal.
        events: How many go.
    """

    through: int
    hash: str
    events: int


def find_cut(connection: Connection, keep: timedelta) -> Cut | None:
    """Find the newest anchor that is older than what is kept; None if none is."""
    row = connection.exec_driver_sql(_CUT, {"keep": keep}).one_or_none()
    return None if row is None else Cut(*row)


def may_prune(connection: Connection) -> bool:
    """Whether our role is, or belongs to, the owner of the trail."""
    found: bool = connection.exec_driver_sql(_MAY_PRUNE).scalar_one()
    return found


def prune(database: Transacting, keep: timedelta, author: Author) -> Cut | None:
    """Remove events that are older than what is kept, up to an anchor.

    The event of it and the removal are one transaction.

    Raises:
        DatabaseError: Our role does not own the trail, or Postgres did not answer.
    """
    act = uuid4()
    return database.transact(lambda c: _prune(c, keep, author, act), repeatable=True)


def _prune(
    connection: Connection, keep: timedelta, author: Author, act: UUID
) -> Cut | None:
    cut = find_cut(connection, keep)
    if cut is None:
        return None
    event = Event(
        Action.PRUNE,
        author,
        {"through": cut.through, "hash": cut.hash},
        {"events": cut.events},
        reason=f"APEX_AUDIT_KEEP: events are kept for {words(keep)}",
    )
    append(connection, event, act)
    connection.exec_driver_sql(_GRANT)
    connection.exec_driver_sql(_PRUNE, {"through": cut.through})
    connection.exec_driver_sql(_REVOKE)
    return cut
