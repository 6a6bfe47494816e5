"""The daily work on the trail: close what was left open, verify, anchor, prune."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from apex_pipeline.audit.anchors import TimeStamp, keep_anchor
from apex_pipeline.audit.chain_walk import Anchor
from apex_pipeline.audit.events import Author
from apex_pipeline.audit.intents import close_abandoned
from apex_pipeline.audit.migrations_noted import note_migrations
from apex_pipeline.audit.retention import Cut, find_cut, may_prune, prune
from apex_pipeline.audit.trail import Head, Transacting, head as read_head
from apex_pipeline.audit.verification import (
    CheckStamp,
    Verification,
    keep_verification,
    verify,
)
from apex_pipeline.errors import ApexError


@dataclass(frozen=True, slots=True)
class Edges:
    """What the work needs besides the database.

    Attributes:
        check_stamp: Checks an anchor's time stamp.
        stamp: Has a head stamped by the authority; None without one.
        tell: Sends a head through the alert channels; returns their names.
        elsewhere: Heads that were noted elsewhere.
    """

    check_stamp: CheckStamp
    stamp: Callable[[Head], TimeStamp] | None = None
    tell: Callable[[Head], Sequence[str]] = lambda _: ()
    elsewhere: Sequence[Anchor] = ()


@dataclass(frozen=True, slots=True)
class DailyResult:
    """What the daily work did.

    Attributes:
        anchored: The head that was anchored; None if the trail is broken or empty.
        told: Channels that the head was sent to.
        is_stamped: Whether an authority stamped it.
        pruned: Where the trail was cut, if it was.
        waiting: Where it would be cut, if our role may not.
        failure: Why the authority's time stamp is missing.
    """

    verification: Verification
    anchored: Head | None = None
    told: tuple[str, ...] = ()
    is_stamped: bool = False
    pruned: Cut | None = None
    waiting: Cut | None = None
    failure: ApexError | None = None


def work_daily(
    database: Transacting, author: Author, edges: Edges, keep: timedelta | None
) -> DailyResult:
    """Do the daily work; a broken trail is neither anchored nor pruned.

    Raises:
        DatabaseError: Postgres did not answer, or refused.
    """
    database.transact(close_abandoned)
    note_migrations(database, author)
    found = database.transact(
        lambda c: verify(c, elsewhere=edges.elsewhere, check_stamp=edges.check_stamp),
        repeatable=True,
    )
    database.transact(lambda c: keep_verification(c, found))
    head = database.transact(read_head, repeatable=True)
    if not found.is_unbroken or not head.sequence:
        return DailyResult(found)
    told = tuple(edges.tell(head))
    stamp, failure = _stamped(edges, head)
    act = uuid4()
    database.transact(
        lambda c: keep_anchor(c, head, author, act, time_stamp=stamp, told=told),
        repeatable=True,
    )
    pruned = waiting = None
    if keep is not None and database.transact(may_prune):
        pruned = prune(database, keep, author)
    elif keep is not None:
        waiting = database.transact(lambda c: find_cut(c, keep))
    return DailyResult(found, head, told, stamp is not None, pruned, waiting, failure)


def _stamped(edges: Edges, head: Head) -> tuple[TimeStamp | None, ApexError | None]:
    """The time stamp, or why there is none; the anchor is made all the same."""
    if edges.stamp is None:
        return None, None
    try:
        return edges.stamp(head), None
    except ApexError as error:
        return None, error
