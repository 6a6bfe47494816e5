"""One method per transaction: pending rows, quarantine, and run ledger in Postgres."""

import os
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event, rows
from apex_pipeline.audit.settings_changes import note_settings
from apex_pipeline.audit.trail import acting
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import pending_rows, resent_rows, row_marks, run_ledger
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.pending_rows import PendingRow, PendingSummary, Position
from apex_pipeline.postgres.resent_rows import Slice, SliceSummary
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.run_ledger import Pause, RunRecord, Target
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS
from apex_pipeline.postgres.writer_lock import (
    WriterLock,
    try_writer_lock,
)
from apex_pipeline.quarantine import decisions as quarantine, listing, put_aside
from apex_pipeline.quarantine.decisions import Decision, Selection
from apex_pipeline.quarantine.listing import Cause, QuarantinedRow

_Result = TypeVar("_Result")


def connect(
    url: str,
    *,
    wait_seconds: float = 30.0,
    statement_seconds: float = STATEMENT_SECONDS,
    application_name: str = "apex_pipeline",
    author: Author | None = None,
) -> "Store":
    """Open the store, waiting for a suspended server to wake.

    The arguments are those of `Database` and of `Store`.

    Raises:
        ConfigError: The URL does not name a Postgres database.
        DatabaseError: The server does not answer, or refuses the connection.
    """
    database = Database(
        url,
        wait_seconds=wait_seconds,
        statement_seconds=statement_seconds,
        application_name=application_name,
    )
    database.connect().close()
    return Store(database, author)


class Store:
    """The pipeline's tables in Postgres; threads may share it.

    What it changes on somebody's decision leaves an event in the audit trail. Every
    method is one transaction. If running it twice is harmless, it is retried once when
    the connection is lost.

    Raises:
        DatabaseUnavailableError: From any method: the server was lost and did not come
            back in time.
        SchemaMissingError: From any method: a table is missing.
    """

    def __init__(self, database: Database, author: Author | None = None) -> None:
        """Keep the database; nothing is sent yet.

        Args:
            database: Where the tables are.
            author: Who acts; by default the user of this process.
        """
        self._database = database
        self.author = author or process_author(os.environ)
        self.ask = database.ask

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def spend(self, seconds: float) -> None:
        """Limit the total time of all statements from now on; see `Budget`."""
        self._database.spend(seconds)

    async def interruptible(self, work: Awaitable[_Result]) -> _Result:
        """Await work whose threads use this store, and free them on cancellation."""
        return await self._database.interruptible(work)

    def pending_page(self, after: Position | None, limit: int) -> list[PendingRow]:
        """Read the pending rows after a position, oldest first."""
        return self._database.transact(
            lambda c: pending_rows.page(c, after, limit), repeatable=True
        )

    def pending_summary(self) -> PendingSummary:
        """Count the pending rows and find the oldest."""
        return self._database.transact(pending_rows.summary, repeatable=True)

    def has_pending(self) -> bool:
        """Whether any row is pending; cheap even with a large backlog."""
        return self._database.transact(pending_rows.exists, repeatable=True)

    def slice_page(
        self, part: Slice, after: Position | None, limit: int
    ) -> list[PendingRow]:
        """Read the rows of a slice still to be sent after a position, oldest first."""
        return self._database.transact(
            lambda c: resent_rows.page(c, part, after, limit), repeatable=True
        )

    def slice_summary(self, part: Slice) -> SliceSummary:
        """Count the rows of a slice by state."""
        return self._database.transact(
            lambda c: resent_rows.summary(c, part), repeatable=True
        )

    def mark_exported(
        self,
        rows: Sequence[PendingRow],
        at: datetime,
        *,
        run_id: int | None = None,
        again: bool = False,
        resource: str | None = None,
    ) -> Marks:
        """Mark rows that Dataverse acknowledged, in the version that was sent.

        Args:
            rows: The rows as they were read.
            at: The time to mark them with.
            run_id: The open run in the ledger to count them for, if any.
            again: Whether rows that are already marked take the new time.
            resource: The environment that holds their records.
        """

        def mark(connection: Connection) -> Marks:
            marks = row_marks.mark_exported(
                connection, rows, at, again=again, resource=resource
            )
            if run_id is not None:
                run_ledger.count_marks(connection, run_id, marks)
            return marks

        return self._database.transact(mark, repeatable=True)

    def quarantine(
        self, rejections: Sequence[Rejection], at: datetime, *, unmark: bool = False
    ) -> int:
        """Put rejected rows aside, each time twice as long: 5 minutes to a day.

        Args:
            rejections: The rows, each with its reason.
            at: When they were rejected.
            unmark: Whether they may have been exported before, and are so no more. Those
                that another transaction holds are left as they are.

        Returns:
            How many were left.
        """

        def in_turn(connection: Connection) -> int:
            ids = [one.id for one in rejections]
            held = row_marks.unmark(connection, ids) if unmark else set[str]()
            put_aside.put_aside(
                connection, [one for one in rejections if one.id not in held], at
            )
            return len(held)

        return self._database.transact(in_turn)

    def quarantine_count(self) -> int:
        """Count the rows in quarantine that are still retried, due or not."""
        return self._database.transact(quarantine.count, repeatable=True)[0]

    def dropped_count(self) -> int:
        """Count the rows in quarantine that were dropped."""
        return self._database.transact(quarantine.count, repeatable=True)[1]

    def quarantine_causes(
        self, selection: Selection, limit: int, offset: int = 0
    ) -> list[Cause]:
        """Read the causes of rows in quarantine, the most common first."""
        return self._database.transact(
            lambda c: listing.causes(c, selection, limit, offset),
            repeatable=True,
        )

    def quarantined_rows(
        self, selection: Selection, limit: int, offset: int = 0
    ) -> list[QuarantinedRow]:
        """Read the rows in quarantine, ordered by their first rejection."""
        return self._database.transact(
            lambda c: listing.rows(c, selection, limit, offset),
            repeatable=True,
        )

    def quarantined_row(
        self, text: str
    ) -> list[tuple[QuarantinedRow, Mapping[str, object]]]:
        """Read a row in quarantine by its id, with its values.

        Ids that differ only in case give several rows.

        Raises:
            ApexError: The row is not in quarantine.
        """

        def read(
            connection: Connection,
        ) -> list[tuple[QuarantinedRow, Mapping[str, object]]]:
            found = [
                (entry, pending_rows.named(connection, entry.id))
                for entry in listing.named(connection, text)
            ]
            return [(entry, row.values) for entry, row in found if row is not None]

        return self._database.transact(read, repeatable=True)

    def quarantine_selected(self, selection: Selection) -> int:
        """Count the selected rows.

        Raises:
            ApexError: Named rows are not in quarantine, or no row has the cause.
        """
        return len(
            self._database.transact(
                lambda c: quarantine.find(c, selection), repeatable=True
            )
        )

    def release(self, selection: Selection) -> int:
        """Make rows in quarantine due now, dropped ones too; return how many.

        Raises:
            ApexError: See `quarantine_selected`; nothing was changed.
        """
        return len(
            acting(
                self._database,
                lambda c: quarantine.release(c, selection),
                lambda ids: self._about(Action.RELEASE, ids) if ids else None,
            )
        )

    def drop(self, selection: Selection, decision: Decision) -> int:
        """Drop rows in quarantine, so that they are never sent; return how many.

        Raises:
            ApexError: See `quarantine_selected`; nothing was changed.
        """
        reason = decision.reason.strip()
        by: dict[str, Json] = {"decided_by": decision.by.strip()}
        return len(
            acting(
                self._database,
                lambda c: quarantine.drop(c, selection, decision),
                lambda ids: self._about(Action.DROP, ids, by, reason) if ids else None,
            )
        )

    def _about(
        self,
        action: Action,
        ids: Sequence[str],
        subject: Mapping[str, Json] | None = None,
        reason: str | None = None,
    ) -> Event:
        return Event(
            action,
            self.author,
            rows(ids) | dict(subject or {}),
            {"rows": len(ids)},
            reason=reason,
        )

    def known_ids(self, ids: Iterable[str]) -> set[str]:
        """The given UUIDs that belong to a row, in lower case."""
        wanted = list(ids)
        return self._database.transact(
            lambda c: pending_rows.known_ids(c, wanted), repeatable=True
        )

    def start_run(
        self,
        *,
        at: datetime,
        dagster_run_id: str | None,
        part: str | None = None,
        settings: Mapping[str, Json] | None = None,
    ) -> int:
        """Open a run in the ledger; the caller holds the writer lock.

        A run that is still open is closed as interrupted: its process is dead.

        Args:
            at: Now.
            dagster_run_id: The run in Dagster, if it is one.
            part: The rows that it sends again, in words; None for pending rows.
            settings: Fingerprints of the settings that it runs with: if they are others
                than those of the last run, the audit trail gets an event.
        """
        act = uuid4()

        def start(connection: Connection) -> int:
            run_id = run_ledger.start_run(
                connection, at, self.author, dagster_run_id, part
            )
            if settings is not None:
                note_settings(connection, settings, self.author, act)
            return run_id

        return self._database.transact(start)

    def finish_run(self, run_id: int, record: RunRecord) -> None:
        """Store the results of a run, and its event in the audit trail."""
        acting(
            self._database,
            lambda c: run_ledger.finish_run(c, run_id, record),
            lambda event: event,
        )

    def last_runs(self, limit: int) -> list[RunRecord]:
        """Read the last runs, newest first."""
        return self._database.transact(
            lambda c: run_ledger.last_runs(c, limit), repeatable=True
        )

    def pacing(self, key: str) -> dict[str, object] | None:
        """Read the stored usage of Dataverse's limits."""
        return self._database.transact(
            lambda c: run_ledger.pacing(c, key), repeatable=True
        )

    def save_pacing(
        self, key: str, state: Mapping[str, object], retry_at: datetime | None
    ) -> None:
        """Store the usage of Dataverse's limits, and until when to wait."""
        self._database.transact(
            lambda c: run_ledger.save_pacing(c, key, state, retry_at), repeatable=True
        )

    def retry_at(self, key: str) -> datetime | None:
        """Read until when Dataverse accepts no requests."""
        return self._database.transact(
            lambda c: run_ledger.retry_at(c, key), repeatable=True
        )

    def open_pause(self, keys: Sequence[str], now: datetime) -> Pause | None:
        """Read until when Dataverse wants no request, and why; None if it takes them.

        Args:
            keys: The budgets, one for each application user; one suffices.
            now: Aware.
        """
        return self._database.transact(
            lambda c: run_ledger.open_pause(c, keys, now), repeatable=True
        )

    def target(self, resource: str) -> Target | None:
        """Read the stored state of an environment; None if it is unknown."""
        return self._database.transact(
            lambda c: run_ledger.target(c, resource), repeatable=True
        )

    def accept_duplicates(self, resource: str, at: datetime) -> None:
        """Store the operator's decision to deliver despite another flow's records."""
        acting(
            self._database,
            lambda c: run_ledger.accept_duplicates(c, resource, at),
            lambda _: Event(
                Action.ACCEPT_DUPLICATES, self.author, {"environment": resource}
            ),
        )

    def record_delivery(self, resource: str, at: datetime) -> None:
        """Store when the first row was delivered to an environment."""
        self._database.transact(
            lambda c: run_ledger.record_delivery(c, resource, at), repeatable=True
        )

    def writer_lock(self) -> WriterLock | HeldElsewhere:
        """Become the one writer, or learn who is."""
        with self._database.translated():
            return try_writer_lock(self._database)
