"""The pipeline's tables in Postgres, and what takes several statements or leaves an event.

One transaction that reads, or that writes with one statement, is `store.ask(function, …)`
with a function of this folder or of `quarantine`.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self
from uuid import uuid4

from sqlalchemy import Connection

from apex_pipeline.audit.authors import process_author
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event, rows
from apex_pipeline.audit.settings_changes import note_settings
from apex_pipeline.audit.trail import acting
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import (
    dataverse_targets,
    pending_rows,
    row_marks,
    run_ledger,
)
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.pending_rows import PendingRow
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.run_ledger import RunRecord
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS
from apex_pipeline.postgres.writer_lock import (
    WriterLock,
    try_writer_lock,
)
from apex_pipeline.quarantine import decisions, listing, put_aside
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.quarantine.listing import QuarantinedRow


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

    What an operator decides leaves an event in the audit trail. Every method is one
    transaction. If running it twice is harmless, it is retried once when the connection
    is lost.

    Attributes:
        ask, spend, run: Those of `Database`.

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
        self.database = database
        self.author = author or process_author(os.environ)
        self.ask = database.ask
        self.spend = database.spend
        self.run = database.run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.database.close()

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

        return self.database.transact(mark, repeatable=True)

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

        return self.database.transact(in_turn)

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

        return self.database.transact(read, repeatable=True)

    def release(self, selection: QuarantineSelection) -> int:
        """Make rows in quarantine due now, dropped ones too; return how many.

        Raises:
            ApexError: As by `decisions.find`; nothing was changed.
        """
        return len(
            acting(
                self.database,
                lambda c: decisions.release(c, selection),
                lambda ids: self._about(Action.RELEASE, ids) if ids else None,
            )
        )

    def drop(self, selection: QuarantineSelection, decision: Decision) -> int:
        """Drop rows in quarantine, so they are never sent; return how many.

        Raises:
            ApexError: As by `decisions.find`; nothing was changed.
        """
        reason = decision.reason.strip()
        by: dict[str, Json] = {"decided_by": decision.by.strip()}
        return len(
            acting(
                self.database,
                lambda c: decisions.drop(c, selection, decision),
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

        return self.database.transact(start)

    def finish_run(self, run_id: int, record: RunRecord) -> None:
        """Store the results of a run, and its event in the audit trail."""
        acting(
            self.database,
            lambda c: run_ledger.finish_run(c, run_id, record),
            lambda event: event,
        )

    def accept_duplicates(self, resource: str, at: datetime) -> None:
        """Store the operator's decision to deliver despite another flow's records."""
        acting(
            self.database,
            lambda c: dataverse_targets.accept_duplicates(c, resource, at),
            lambda _: Event(
                Action.ACCEPT_DUPLICATES, self.author, {"environment": resource}
            ),
        )

    def writer_lock(self) -> WriterLock | HeldElsewhere:
        """Become the one writer, or learn who is."""
        with self.database.translated():
            return try_writer_lock(self.database)
