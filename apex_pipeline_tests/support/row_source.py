"""A source of rows without a database."""

from uuid import UUID

from apex_pipeline.errors import DatabaseUnavailableError
from apex_pipeline.postgres.pending_rows import PendingRow
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline_tests.support.metric_rows import row


def pending_row(number, **overrides):
    key = UUID(int=number)
    return PendingRow(str(key), "1", "2026-11-01", row(id=key, **overrides))


class Source:
    """Pending rows in memory, with the store's guarantees."""

    def __init__(self, rows):
        self.rows = {r.id: r for r in rows}
        self.marked = []
        self.quarantined = []
        self.pages = 0
        self.fail_at_page = None
        self.fail_to_mark = False
        self.swallows = set()

    def pending_page(self, after, limit):
        self.pages += 1
        if self.pages == self.fail_at_page:
            raise DatabaseUnavailableError("gone")
        ids = sorted(self.rows)
        if after is not None:
            ids = [one for one in ids if one > after.id]
        return [self.rows[one] for one in ids[:limit]]

    def mark_exported(self, rows, at):
        if self.fail_to_mark:
            raise DatabaseUnavailableError("gone")
        kept = [row.id for row in rows if row.id not in self.swallows]
        self.marked.extend(kept)
        swallowed = len(rows) - len(kept)
        return Marks(
            len(kept), swallowed=swallowed, obstacles=("trigger t",) * bool(swallowed)
        )

    def quarantine(self, rejections, at):
        self.quarantined.extend(rejections)
        return 0


async def no_beat():
    return None


def after(requests, failure):
    """A sink that fails from the given request on."""
    count = 0

    def behave(metrics):
        nonlocal count
        count += 1
        if count > requests:
            return Delivery(failure=failure)
        return Delivery(tuple(m.id for m in metrics))

    return behave
