"""Anchors: heads of the trail that are also stored elsewhere; the table `audit_anchor`.

An anchor is listed in the trail by an event, in the same transaction, so it cannot
be removed quietly either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.chain_walk import Anchor
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.audit.trail import Head, append

_ANCHORS = """
    SELECT sequence, encode(hash, 'hex'), anchored_at, authority, time_stamp
    FROM audit_anchor ORDER BY sequence
"""

_INSERT = """
    INSERT INTO audit_anchor (sequence, hash, anchored_at, authority, time_stamp)
    VALUES (
        %(sequence)s, decode(%(hash)s, 'hex'), clock_timestamp(), %(authority)s,
        %(time_stamp)s
    )
    ON CONFLICT DO NOTHING
"""

_LAST = "SELECT max(anchored_at) FROM audit_anchor"


@dataclass(frozen=True, slots=True)
class TimeStamp:
    """An authority's answer (RFC 3161, DER), and the authority's address."""

    authority: str
    answer: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the answer, hexadecimal."""
        return sha256(self.answer).hexdigest()


@dataclass(frozen=True, slots=True)
class KeptAnchor:
    """An anchor as it is kept here."""

    head: Head
    anchored_at: datetime
    time_stamp: TimeStamp | None

    def for_walk(self) -> Anchor:
        """What the walk compares."""
        stamp = self.time_stamp
        return Anchor(
            self.head.sequence,
            self.head.hash,
            time_stamp=None if stamp is None else stamp.digest,
        )


def read_anchors(connection: Connection) -> list[KeptAnchor]:
    """Read all anchors, oldest first; there is one a day."""
    return [
        KeptAnchor(
            Head(sequence, hash_),
            at.astimezone(UTC),
            None if stamp is None else TimeStamp(authority, bytes(stamp)),
        )
        for sequence, hash_, at, authority, stamp in connection.exec_driver_sql(
            _ANCHORS
        )
    ]


def last_anchored_at(connection: Connection) -> datetime | None:
    """When the last anchor was made; None if there is none."""
    found: datetime | None = connection.exec_driver_sql(_LAST).scalar_one()
    return None if found is None else found.astimezone(UTC)


def keep_anchor(
    connection: Connection,
    head: Head,
    author: Author,
    act: UUID,
    *,
    time_stamp: TimeStamp | None = None,
    told: Sequence[str] = (),
) -> bool:
    """Keep an anchor of a head, with its event; return whether it is new.

    Args:
        connection: The transaction.
        head: What is anchored; it may not be the head any more.
        author: Who anchors it.
        act: Identifies the act.
        time_stamp: An authority's time stamp of its hash, if there is one.
        told: Names of the channels that the head is sent to.
    """
    values = {
        "sequence": head.sequence,
        "hash": head.hash,
        "authority": time_stamp and time_stamp.authority,
        "time_stamp": time_stamp and time_stamp.answer,
    }
    if not connection.exec_driver_sql(_INSERT, values).rowcount:
        return False
    subject: dict[str, Json] = {"sequence": head.sequence, "hash": head.hash}
    if told:
        subject["channels"] = list[Json](told)
    if time_stamp is not None:
        subject |= {
            "authority": time_stamp.authority,
            "time_stamp_sha256": time_stamp.digest,
        }
    append(connection, Event(Action.ANCHOR, author, subject), act)
    return True
