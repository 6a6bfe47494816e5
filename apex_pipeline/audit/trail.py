"""Append events to the trail and read them; the table `audit_event`.

Appending comes last in its transaction, because the lock that it takes lasts until the
transaction ends. So writers meet in one order and never wait for each other for long.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Connection

from apex_pipeline import __version__
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.chain import COVERED, GENESIS, document, open_parts
from apex_pipeline.audit.events import Action, Event
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.texts.redaction import shortened
from apex_pipeline.texts.storable_text import storable, storable_document

_Result = TypeVar("_Result")

_JSON_COLUMNS = ("subject", "counts", "before", "after")

_APPEND = """
    SELECT audit_append(
        CAST(%(act)s AS uuid), %(actor)s, %(action)s, %(outcome)s, %(subject)s,
        %(counts)s, %(before)s, %(after)s, %(reason)s, %(run_id)s, %(version)s,
        %(parts)s
    )
"""

EVENTS = """
    SELECT sequence, CAST(act AS text),
        (to_json(at AT TIME ZONE 'UTC') #>> '{}') || 'Z', actor, action, outcome,
        CAST(subject AS text), CAST(counts AS text), CAST(before AS text),
        CAST(after AS text), reason, run_id, version, encode(previous_hash, 'hex'),
        encode(hash, 'hex')
    FROM audit_event
"""
"""Reads events: the columns that the hash covers, as `chain.document` takes them, then
the hash."""

_NEWEST = f"""
    {EVENTS}
    WHERE sequence < %(before)s
        AND (CAST(%(action)s AS text) IS NULL OR action = %(action)s)
        AND (CAST(%(actor)s AS text) IS NULL OR actor = %(actor)s)
        AND (CAST(%(since)s AS timestamptz) IS NULL OR at >= %(since)s)
        AND (CAST(%(until)s AS timestamptz) IS NULL OR at < %(until)s)
    ORDER BY sequence DESC
    LIMIT %(limit)s
"""

_ONE = f"{EVENTS} WHERE sequence = %(sequence)s"

_NEWEST_OF = f"{EVENTS} WHERE action = %(action)s ORDER BY sequence DESC LIMIT 1"

_SHOWN_HEAD = re.compile(r"([1-9]\d{0,17}):([0-9a-f]{64})")

_END = "SELECT sequence, encode(hash, 'hex') FROM audit_event ORDER BY 1 DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a trail; it stands for all of them.

    Attributes:
        sequence: Its number; 0 of an empty trail.
        hash: Its hash, hexadecimal.
    """

    sequence: int
    hash: str

    def __str__(self) -> str:
        """The head as reports and notices show it, and `--anchor` reads it."""
        return f"{self.sequence}:{self.hash}"


class Transacting(Protocol):
    """Runs work in one transaction."""

    def transact(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        """Run *work* in one transaction; again if that is harmless and worth it."""
        ...


def acting(
    database: Transacting,
    work: Callable[[Connection], _Result],
    told: Callable[[_Result], Event | None],
    *,
    repeatable: bool = True,
) -> _Result:
    """Do an act and append its event, in one transaction.

    Args:
        database: Runs the transaction.
        work: The act.
        told: The event, from what the act returned; None if it changed nothing.
        repeatable: Whether doing the act twice is harmless.
    """
    act = uuid4()

    def both(connection: Connection) -> _Result:
        result = work(connection)
        event = told(result)
        if event is not None:
            append(connection, event, act)
        return result

    return database.transact(both, repeatable=repeatable)


def append(connection: Connection, event: Event, act: UUID) -> None:
    """Append an event, unless a first attempt of the same act has done so.

    Call it last in the transaction of the act.

    Args:
        connection: In the act's transaction.
        event: What to write.
        act: Made once for the act, outside what may be repeated.
    """
    values = _covered(event, act)
    bound: dict[str, Any] = values | {"parts": open_parts(values)}
    for name in _JSON_COLUMNS:
        bound[name] = json.dumps(values[name], allow_nan=False)
    connection.exec_driver_sql(_APPEND, bound)


def _covered(event: Event, act: UUID) -> dict[str, Json]:
    """What the hash covers, without what depends on the place in the trail."""
    return {
        "act": str(act),
        "actor": storable(event.author.actor),
        "action": event.action.value,
        "outcome": event.outcome.value,
        "subject": storable_document(event.subject),
        "counts": dict(event.counts),
        "before": dict(event.before),
        "after": dict(event.after),
        "reason": None if event.reason is None else storable(event.reason),
        "run_id": event.author.run_id,
        "version": __version__,
    }


def newest(
    connection: Connection,
    *,
    limit: int,
    before: int | None = None,
    action: Action | None = None,
    actor: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[dict[str, Json]]:
    """Read events with their hashes, newest first; instants as ISO 8601."""
    values = {
        "before": before or 2**63 - 1,
        "action": action,
        "actor": actor,
        "since": since,
        "until": until,
        "limit": limit,
    }
    return [shown(row) for row in connection.exec_driver_sql(_NEWEST, values)]


def one(connection: Connection, sequence: int) -> dict[str, Json]:
    """Read one event with its hash.

    Raises:
        ApexError: There is no such event.
    """
    row = connection.exec_driver_sql(_ONE, {"sequence": sequence}).one_or_none()
    if row is None:
        raise ApexError(
            f"The audit trail has no event {sequence}. `apex audit list` shows the last "
            "ones; older ones may have been pruned."
        )
    return shown(row)


def newest_of(connection: Connection, action: Action) -> dict[str, Json] | None:
    """Read the last event of a kind; None if there is none."""
    found = connection.exec_driver_sql(_NEWEST_OF, {"action": action})
    row = found.one_or_none()
    return None if row is None else shown(row)


def head(connection: Connection) -> Head:
    row = connection.exec_driver_sql(_END).one_or_none()
    return Head(0, GENESIS) if row is None else Head(*row)


def parse_head(text: str) -> Head:
    """Read a head as reports and notices show it.

    Raises:
        ConfigError: It is no such text.
    """
    found = _SHOWN_HEAD.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(
            f"{shortened(repr(text), 100)} is not an anchor. It looks like 123:4f0c…, a sequence and a "
            "hash of 64 digits, as reports and notices show it."
        )
    return Head(int(found[1]), found[2])


def shown(row: Sequence[Any]) -> dict[str, Json]:
    """An event with its hash, from a row of `EVENTS`."""
    try:
        found = document(row[:-1])
    except ValueError:
        # Somebody changed it; show it as it is stored.
        found = dict(zip(COVERED, row, strict=False))
    return found | {"hash": row[-1]}


def part(event: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """An object within an event, such as its subject; as text where it is none.

    Who may append an event may put numbers into it that no reader of JSON holds.
    """
    found = event.get(name)
    if isinstance(found, Mapping):
        return found
    return {} if found is None else {"unreadable": str(found)}
