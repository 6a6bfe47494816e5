"""Acts outside the metrics database, such as those in Dataverse or on a disk.

Two systems share no transaction. So what will be written about such an act is committed
first, as an intent; the event takes its place when the act has ended. Of an act whose
process died, the next run of the sync or of the audit job writes an event that says so.
One act leaves one event, and none is without.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Event, Outcome
from apex_pipeline.audit.trail import Transacting, append
from apex_pipeline.errors import ApexError
from apex_pipeline.texts.redaction import shortened

logger = logging.getLogger(__name__)

MOST_SECONDS = 2 * 3600.0
"""How long an act may take before it counts as interrupted."""

_BEGIN = """
    INSERT INTO audit_intent (act, event, ends_by)
    VALUES (
        CAST(%(act)s AS uuid), %(event)s,
        clock_timestamp() + %(seconds)s * interval '1 second'
    )
    ON CONFLICT DO NOTHING
"""

_END = "DELETE FROM audit_intent WHERE act = CAST(%(act)s AS uuid)"

_HAS_TRAIL = "SELECT to_regclass('audit_intent') IS NOT NULL"

# SKIP LOCKED: another process may be at it, or the act's own.
_OVERDUE = """
    SELECT act, event FROM audit_intent WHERE ends_by < clock_timestamp()
    ORDER BY begun_at FOR UPDATE SKIP LOCKED
"""


@dataclass(slots=True)
class Ending:
    """What is known of an act only when it ends; fill it in meanwhile.

    Attributes:
        is_void: Whether nothing was changed after all, so there is no act.
    """

    subject: dict[str, Json] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    is_void: bool = False


@contextmanager
def intended(
    database: Transacting, event: Event, *, seconds: float = MOST_SECONDS
) -> Iterator[Ending]:
    """Commit the intent, run the block, then write the event.

    An error of the block is passed on, and the event says `failed`.

    Raises:
        DatabaseError: The intent could not be written, and the block was not run. Or the
            event could not: the next run writes it.
    """
    act = uuid4()
    values = {"act": str(act), "event": event.as_json(), "seconds": seconds}
    database.transact(lambda c: c.exec_driver_sql(_BEGIN, values), repeatable=True)
    ending = Ending()
    try:
        yield ending
    except BaseException as error:
        why = str(error) if isinstance(error, ApexError) else type(error).__name__
        failed = replace(
            event,
            outcome=Outcome.FAILED,
            subject=dict(event.subject) | {"error": shortened(why, 500)},
        )
        _end(database, failed, ending, act)
        raise
    _end(database, event, ending, act)


def has_trail(connection: Connection) -> bool:
    """Whether the database has been provisioned with a trail."""
    found: bool = connection.exec_driver_sql(_HAS_TRAIL).scalar_one()
    return found


def close_abandoned(connection: Connection) -> int:
    """Write the events of acts whose process died; return how many there were.

    An intent that cannot be read stays where it is, as evidence: any role that may begin
    an act may write one, and no sync waits for it.
    """
    unreadable: list[str] = []
    overdue = connection.exec_driver_sql(_OVERDUE).all()
    for act, kept in overdue:
        try:
            event = Event.of_json(kept)
            append(connection, replace(event, outcome=Outcome.INTERRUPTED), act)
        except (LookupError, TypeError, ValueError):
            unreadable.append(str(act))
        else:
            connection.exec_driver_sql(_END, {"act": str(act)})
    if unreadable:
        logger.warning(
            "%d rows of audit_intent do not come from the pipeline, which leaves them "
            "there; find out who wrote them, then delete them: %s",
            len(unreadable),
            ", ".join(unreadable[:3]),
        )
    return len(overdue) - len(unreadable)


def _end(database: Transacting, event: Event, ending: Ending, act: UUID) -> None:
    told = replace(
        event,
        subject=dict(event.subject) | ending.subject,
        counts=dict(event.counts) | ending.counts,
    )

    def end(connection: Connection) -> None:
        connection.exec_driver_sql(_END, {"act": str(act)})
        if not ending.is_void:
            append(connection, told, act)

    database.transact(end, repeatable=True)
