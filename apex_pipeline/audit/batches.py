"""An act in many transactions of the metrics database, such as a repair batch by batch.

What a batch did is added to the act's intent in the batch's own transaction; at the end
the event takes the intent's place. When the process dies in between, the intent holds
what was committed and nothing else, and the next run of the sync or of the audit job
writes the event of it. One act leaves one event, and no batch is without.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import ROWS_NAMED, Action, Event, Outcome
from apex_pipeline.audit.trail import Transacting, append
from apex_pipeline.errors import ApexError
from apex_pipeline.texts.redaction import shortened

_Result = TypeVar("_Result")

_DIGEST = "rows_chained_sha256"

_READ = """
    SELECT event FROM audit_intent WHERE act = CAST(%(act)s AS uuid) FOR UPDATE
"""

_KEEP = """
    INSERT INTO audit_intent (act, event, ends_by)
    VALUES (
        CAST(%(act)s AS uuid), %(event)s,
        clock_timestamp() + %(seconds)s * interval '1 second'
    )
    ON CONFLICT (act) DO UPDATE
    SET event = excluded.event, ends_by = excluded.ends_by
"""

_TAKE = "DELETE FROM audit_intent WHERE act = CAST(%(act)s AS uuid) RETURNING event"

_OUTCOME = "SELECT outcome FROM audit_event WHERE act = CAST(%(act)s AS uuid)"


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did.

    Attributes:
        rows: Ids of the rows, in the order in which they were handled.
        records: Ids of their records, likewise, where they are part of the act.
    """

    rows: Sequence[str]
    records: Sequence[str] = ()


class BatchedAct:
    """One act, from its first batch to its end."""

    def __init__(self, event: Event, *, seconds: float) -> None:
        """Prepare; nothing is written before the first batch that did something.

        Args:
            event: What is known of the act beforehand.
            seconds: After so long without another batch, or the end, the act counts as
                interrupted.
        """
        self._event = event
        self._seconds = seconds
        self._act = uuid4()
        self._beside = uuid4()
        self._has_begun = False

    def carry_out(
        self,
        database: Transacting,
        work: Callable[[Connection], _Result],
        batch_of: Callable[[_Result], Batch],
    ) -> _Result:
        """Do a batch and note it, in one transaction; doing it twice must be harmless.

        Raises:
            ApexError: The act took too long, and its event is written already. The batch
                was not done.
        """

        def both(connection: Connection) -> _Result:
            result = work(connection)
            batch = batch_of(result)
            if batch.rows:
                self._note(connection, batch)
            return result

        result = database.transact(both, repeatable=True)
        self._has_begun |= bool(batch_of(result).rows)
        return result

    def end(
        self,
        connection: Connection,
        *,
        error: ApexError | None = None,
        after: Mapping[str, Json] | None = None,
    ) -> None:
        """Write the event of all batches, last in this transaction; none of no batch.

        Args:
            connection: In the transaction that ends it.
            error: Why the act ended early, if it failed.
            after: Values that this transaction has set.
        """
        kept = connection.exec_driver_sql(_TAKE, {"act": str(self._act)}).scalar()
        if kept is None:
            return
        event = Event.of_json(kept)
        if error is not None:
            subject = dict(event.subject) | {"error": shortened(str(error), 500)}
            event = replace(event, subject=subject, outcome=Outcome.FAILED)
        append(connection, replace(event, after=after or {}), self._act)

    def end_or_append(
        self, connection: Connection, action: Action, after: Mapping[str, Json]
    ) -> None:
        """End the act; if there was no batch, what was set is an act of its own."""
        is_cut_short = (
            connection.exec_driver_sql(_OUTCOME, {"act": str(self._act)}).scalar()
            == Outcome.INTERRUPTED
        )
        if is_cut_short or not self._has_begun:
            other = replace(self._event, action=action, after=after)
            append(connection, other, self._beside if is_cut_short else self._act)
        else:
            self.end(connection, after=after)

    def _note(self, connection: Connection, batch: Batch) -> None:
        noted = self._read(connection)
        if noted is None and self._has_begun:
            raise ApexError(
                "The run took too long, and the audit trail has it as interrupted. The "
                "batches before are done; run the same command again for the rest."
            )
        event = _extended(noted or self._event, batch)
        values = {
            "act": str(self._act),
            "event": event.as_json(),
            "seconds": self._seconds,
        }
        connection.exec_driver_sql(_KEEP, values)

    def _read(self, connection: Connection) -> Event | None:
        kept = connection.exec_driver_sql(_READ, {"act": str(self._act)}).scalar()
        return None if kept is None else Event.of_json(kept)


def chained_digest(ids: Sequence[str], before: str = "") -> str:
    """The digest of ids in their order: SHA-256 of the digest before, the id, a newline.

    It can go on from one batch to the next, whatever their sizes.
    """
    for each in ids:
        before = sha256(f"{before}{each}\n".encode()).hexdigest()
    return before


def _extended(event: Event, batch: Batch) -> Event:
    """The event with one more batch: the first ids, of many a digest, and the count."""
    subject = json.loads(json.dumps(dict(event.subject), allow_nan=False))
    named: list[str] = subject.get("rows", [])
    count = event.counts.get("rows", 0) + len(batch.rows)
    if count > ROWS_NAMED:
        before = subject.get(_DIGEST) or chained_digest(named)
        subject[_DIGEST] = chained_digest(batch.rows, before)
    subject["rows"] = [*named, *batch.rows][:ROWS_NAMED]
    if batch.records:
        known = subject.get("records", [])
        subject["records"] = [*known, *batch.records][:ROWS_NAMED]
    return replace(event, subject=subject, counts=dict(event.counts) | {"rows": count})
