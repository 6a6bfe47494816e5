"""Supply the rows of one run and record their outcome."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres import pending_rows, resent_rows
from apex_pipeline.postgres.pending_rows import PendingRow, Position
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.postgres.store import Store


class PendingSource:
    """Pending rows; each mark is counted in the ledger's open run."""

    def __init__(self, store: Store, run_id: int | None, resource: str) -> None:
        self._store = store
        self._run_id = run_id
        self._resource = resource
        self.quarantine = store.quarantine

    def pending_page(self, after: Position | None, limit: int) -> list[PendingRow]:
        """The next pending rows in order."""
        return self._store.ask(pending_rows.page, after, limit)

    def mark_exported(self, rows: Sequence[PendingRow], at: datetime) -> Marks:
        return self._store.mark_exported(
            rows, at, run_id=self._run_id, resource=self._resource
        )


class SliceSource:
    """The rows of a slice, exported or not; each mark is counted in the open run."""

    def __init__(
        self, store: Store, run_id: int | None, resource: str, part: Slice
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._resource = resource
        self._part = part

    def pending_page(self, after: Position | None, limit: int) -> list[PendingRow]:
        """The next rows of the slice in order."""
        return self._store.ask(resent_rows.page, self._part, after, limit)

    def mark_exported(self, rows: Sequence[PendingRow], at: datetime) -> Marks:
        """Mark rows, including those that were marked before."""
        return self._store.mark_exported(
            rows, at, run_id=self._run_id, again=True, resource=self._resource
        )

    def quarantine(self, rejections: Sequence[Rejection], at: datetime) -> int:
        """Put rows aside; Dataverse does not hold them as they are now."""
        return self._store.quarantine(rejections, at, unmark=True)


class RowSource(Protocol):
    """Supplies pending rows and records their outcome."""

    def pending_page(self, after: Position | None, limit: int) -> list[PendingRow]:
        """The next rows in order."""

    def mark_exported(self, rows: Sequence[PendingRow], at: datetime) -> Marks:
        """Record that Dataverse holds these rows as they were read."""

    def quarantine(self, rejections: Sequence[Rejection], at: datetime) -> int:
        """Put rows aside, each with its reason, until they are due again.

        Returns how many were left as they are, because another transaction holds them.
        """
