"""Verify the trail in the database, and remember the result for monitoring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from apex_pipeline.audit.anchors import KeptAnchor, read_anchors
from apex_pipeline.audit.chain_walk import Anchor, Walk
from apex_pipeline.audit.trail import EVENTS, Head

_ROWS_AT_ONCE = 2000
_REPEATABLE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_IN_ORDER = f"{EVENTS} ORDER BY sequence"

_LAST_CLOSED_RUN = "SELECT max(id) FROM sync_run WHERE status <> 'running'"

# What the migration made; D is disabled, R fires on replicas only.
_GUARDS = """
    SELECT wanted.name FROM (VALUES
        ('audit_event', 'audit_event_extends_the_chain'),
        ('audit_event', 'audit_event_fits_its_hash'),
        ('audit_event', 'audit_event_is_append_only'),
        ('audit_event', 'audit_event_is_pruned'),
        ('audit_anchor', 'audit_anchor_is_append_only')
    ) AS wanted (relation, name)
    WHERE NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = to_regclass(wanted.relation) AND tgname = wanted.name
            AND tgenabled IN ('O', 'A')
    )
    ORDER BY wanted.name
"""

_KEEP = """
    INSERT INTO audit_verification (events, anchors, problems)
    VALUES (%(events)s, %(anchors)s, %(problems)s)
"""

_LAST = """
    SELECT verified_at, events, anchors, problems FROM audit_verification
    ORDER BY id DESC LIMIT 1
"""

CheckStamp = Callable[[KeptAnchor], str | None]
"""Returns what is wrong with an anchor's time stamp; None if nothing is."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying a trail.

    Attributes:
        events: Events that were checked.
        anchors: Anchors that were checked.
        problems: What is wrong, the first event that it concerns first.
        head: The last event; None where it was not kept.
        verified_at: When it ended; None if that is now.
    """

    events: int
    anchors: int
    problems: tuple[str, ...]
    head: Head | None = None
    verified_at: datetime | None = None

    @property
    def is_unbroken(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify(
    connection: Connection,
    *,
    elsewhere: Sequence[Anchor] = (),
    check_stamp: CheckStamp = lambda _: None,
    tell: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Verify the whole trail as it is at one moment, in constant memory.

    Args:
        connection: At the beginning of a transaction.
        elsewhere: Heads that were noted elsewhere: in reports, notices, evidence packs.
        check_stamp: Checks the time stamp of an anchor that has one.
        tell: Called with the number of events seen so far.
    """
    connection.exec_driver_sql(_REPEATABLE)
    kept = read_anchors(connection)
    guards = connection.exec_driver_sql(_GUARDS).scalars().all()
    walk = Walk([*(each.for_walk() for each in kept), *elsewhere])
    head = Head(0, "")
    driver: Any = connection.connection.driver_connection
    # A cursor on the server; without a name, the client would hold all events.
    with driver.cursor(name="audit_walk") as cursor:
        cursor.execute(_IN_ORDER)
        while batch := cursor.fetchmany(_ROWS_AT_ONCE):
            for row in batch:
                walk.see(row)
            head = Head(batch[-1][0], batch[-1][-1])
            tell(walk.events)
    walk.finish(connection.exec_driver_sql(_LAST_CLOSED_RUN).scalar_one())
    stamps = (
        f"Anchor of event {each.head.sequence}: {wrong}"
        for each in kept
        if each.time_stamp is not None and (wrong := check_stamp(each)) is not None
    )
    unguarded = (
        f"The trigger {name} is missing or disabled. Find out who did that, and enable it "
        "or make it again, as docs/audit.md says."
        for name in guards
    )
    problems = (*walk.problems, *stamps, *unguarded)
    return Verification(walk.events, len(walk.anchors), problems, head)


def keep_verification(connection: Connection, found: Verification) -> None:
    """Remember a result; monitoring reads the last one."""
    values = {
        "events": found.events,
        "anchors": found.anchors,
        "problems": list(found.problems),
    }
    connection.exec_driver_sql(_KEEP, values)


def last_verification(connection: Connection) -> Verification | None:
    """Read the last result; None if the trail was never verified."""
    row = connection.exec_driver_sql(_LAST).one_or_none()
    if row is None:
        return None
    at, events, anchors, problems = row
    return Verification(
        events, anchors, tuple(problems), verified_at=at.astimezone(UTC)
    )
