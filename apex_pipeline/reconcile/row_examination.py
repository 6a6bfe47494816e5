"""Compare rows with records without false alarms.

Both databases change meanwhile. A row is marked after Dataverse has acknowledged it. So
if you read rows first, you see the record of each marked row; if you read records first,
you see the row of each record. A suspected difference is read again by key, with the
rows read before and after the records. It is a finding if the rows are the same both
times.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.batches import Batch, BatchedAct
from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile import exported_rows, findings, foreign_records
from apex_pipeline.reconcile.dataverse_records import KEYS_PER_REQUEST, Record, Records
from apex_pipeline.reconcile.exported_rows import ExportedRow, RowWindow
from apex_pipeline.reconcile.findings import Verdicts
from apex_pipeline.reconcile.value_comparison import differing_columns
from apex_pipeline.sync.cutover import key_of

_Result = TypeVar("_Result")


class Examination:
    """Compares rows with records, and stores the findings.

    Attributes:
        compared: Exported rows that were compared.
    """

    def __init__(self, database: Database, resource: str, records: Records) -> None:
        self._database = database
        self._resource = resource
        self._records = records
        self.compared = 0

    async def by_key(self, keys: Iterable[UUID]) -> None:
        """Compare the rows and records of these keys, and update their findings.

        Raises:
            OutOfTimeError: The time or request budget is used up.
        """
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), KEYS_PER_REQUEST):
            await self._some_by_key(wanted[start : start + KEYS_PER_REQUEST])

    async def window(self, window: RowWindow) -> int:
        """Compare a window, except the rows of a dense second; return its row count.

        The records of one more second on either side are read too, because another flow
        may have rounded a record's time.

        Raises:
            OutOfTimeError: The time or request budget is used up.
        """
        compared = self.compared
        unseen = dict(window.keys)
        start = None if window.start is None else window.start - 1
        end = None if window.end is None else window.end + 1
        async for page in self._records.between(start, end):
            for key in await self._page(page):
                unseen.pop(key, None)
        if window.keyless:
            await self._missing_for_ever(window.keyless)
        await self._unseen(unseen)
        # Rows that were compared twice count once.
        count = len(window.keys) + len(window.keyless)
        self.compared = compared + count
        return count

    async def dense_rows(
        self, second: int, after: str | None, limit: int
    ) -> list[ExportedRow]:
        """Compare the next rows of a dense second by key, and return them.

        A set of the rows seen would not fit into bounded memory. So this takes one
        request per 250 rows instead of one per window.
        """
        page = await self.ask(
            lambda c: exported_rows.dense_page(c, second, after, limit)
        )
        await self.of_rows(page)
        return page

    async def undated_records(self) -> None:
        """Compare the records that have no time."""
        async for page in self._records.undated():
            await self._page(page)

    async def of_rows(self, page: Sequence[ExportedRow]) -> None:
        """Compare rows by the keys of their records."""
        keyless = [row.id for row in page if row.key is None]
        if keyless:
            await self._missing_for_ever(keyless)
        await self.by_key(row.key for row in page if row.key is not None)

    async def ask(self, work: Callable[[Connection], _Result]) -> _Result:
        """Run a Postgres transaction in a thread; it may be retried."""
        return await asyncio.to_thread(self._database.transact, work, repeatable=True)

    async def act(
        self,
        act: BatchedAct,
        work: Callable[[Connection], _Result],
        batch_of: Callable[[_Result], Batch],
    ) -> _Result:
        """Run such a transaction as a batch of an act in the audit trail."""
        return await asyncio.to_thread(act.carry_out, self._database, work, batch_of)

    async def _page(self, page: Sequence[Record]) -> set[UUID]:
        """Compare a page of records with their rows; return the keys.

        The rows are read after the records, so a record without a row really has none.
        """
        keyed = {key_of(record): record for record in page}
        found = await self.ask(lambda c: exported_rows.rows_of(c, keyed))
        foreign = {key: keyed[key] for key in keyed.keys() - found.keys()}
        if foreign:
            await self._keep(Verdicts(foreign=foreign))
        await self.by_key(
            key
            for key, row in found.items()
            if row.exported_at and differing_columns(row.values, keyed[key])
        )
        return set(keyed)

    async def _unseen(self, unseen: Mapping[UUID, str]) -> None:
        """Compare rows whose record was not among the records of their time.

        A row for which another flow's record exists is not read by key: there may be as
        many as that flow delivered, and adopting checks them again.
        """
        if not unseen:
            return
        explained = await self.ask(
            lambda c: foreign_records.explained(
                c, self._resource, list(unseen.values())
            )
        )
        await self.by_key(
            key for key, row_id in unseen.items() if row_id not in explained
        )

    async def _some_by_key(self, keys: Sequence[UUID]) -> None:
        before = await self.ask(lambda c: exported_rows.rows_of(c, keys))
        records = await self._records.by_key(keys)
        verdicts = _judge(keys, before, records)
        suspects = [row.key for row in verdicts.missing if row.key]
        suspects += [row.key for row, _ in verdicts.different if row.key]
        suspects += verdicts.foreign
        if suspects:
            after = await self.ask(lambda c: exported_rows.rows_of(c, suspects))
            # Compared as text, because NaN is not equal to itself.
            moved = {
                key for key in suspects if repr(before.get(key)) != repr(after.get(key))
            }
            _withdraw(verdicts, moved)
        await self._keep(verdicts)
        self.compared += sum(bool(row.exported_at) for row in before.values())

    async def _missing_for_ever(self, ids: Sequence[str]) -> None:
        """Store rows whose id cannot be a key, so they cannot have a record."""
        await self._keep(
            Verdicts(missing=[ExportedRow(each, None, None, {}) for each in ids])
        )

    async def _keep(self, verdicts: Verdicts) -> None:
        now = datetime.now(UTC)
        await self.ask(lambda c: findings.record(c, self._resource, verdicts, now))


def _judge(
    keys: Sequence[UUID],
    found: Mapping[UUID, ExportedRow],
    records: Mapping[UUID, Record],
) -> Verdicts:
    verdicts = Verdicts(settled_keys=set(keys))
    for key in keys:
        row, record = found.get(key), records.get(key)
        if row is None:
            if record is not None:
                verdicts.foreign[key] = record
            continue
        verdicts.settled_ids.add(row.id)
        if row.exported_at is None:
            # Pending or in quarantine: the sync takes care of it.
            continue
        if record is None:
            verdicts.missing.append(row)
        elif columns := differing_columns(row.values, record):
            verdicts.different.append((row, columns))
    return verdicts


def _withdraw(verdicts: Verdicts, moved: set[UUID]) -> None:
    """Remove rows and records that changed meanwhile; the next run compares them."""
    verdicts.missing = [row for row in verdicts.missing if row.key not in moved]
    verdicts.different = [
        (row, columns) for row, columns in verdicts.different if row.key not in moved
    ]
    for key in moved & verdicts.foreign.keys():
        del verdicts.foreign[key]
