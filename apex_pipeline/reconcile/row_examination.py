"""Comparing rows with records without a false alarm.

Both databases change meanwhile. A row is marked after Dataverse has acknowledged it, so
whoever reads rows first and records afterwards sees the record of each marked row, and
whoever reads records first and rows afterwards sees the row of each record. What seems
wrong is looked at again by key, with the rows read before and after the records: it is
wrong if the rows are the same both times.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile import exported_rows, findings, foreign_records
from apex_pipeline.reconcile.dataverse_records import KEYS_PER_REQUEST, Record, Records
from apex_pipeline.reconcile.exported_rows import Row, Window
from apex_pipeline.reconcile.findings import Verdicts
from apex_pipeline.reconcile.value_comparison import differing_columns
from apex_pipeline.sync.cutover import key_of

_Result = TypeVar("_Result")


class Examination:
    """Compares, and keeps what it finds.

    Attributes:
        compared: Exported rows that were compared.
    """

    def __init__(self, database: Database, resource: str, records: Records) -> None:
        self._database = database
        self._resource = resource
        self._records = records
        self.compared = 0

    async def by_key(self, keys: Iterable[UUID]) -> None:
        """Compare the rows and records of these keys, and settle what was found there.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
        """
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), KEYS_PER_REQUEST):
            await self._some_by_key(wanted[start : start + KEYS_PER_REQUEST])

    async def window(self, window: Window) -> int:
        """Compare a window, but for the rows of a dense second; returns its rows.

        The records of a second more are read on either side: a record's time may have
        been rounded, where another flow made it.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
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
        # Those that were looked at again do not count twice.
        count = len(window.keys) + len(window.keyless)
        self.compared = compared + count
        return count

    async def dense_rows(self, second: int, after: str | None, limit: int) -> list[Row]:
        """Compare the next rows of a dense second, each by its key; returns them.

        No set of what was seen would fit into bounded memory; it costs a request for
        each 250 rows in place of one for a window.
        """
        page = await self.ask(
            lambda c: exported_rows.dense_page(c, second, after, limit)
        )
        await self.of_rows(page)
        return page

    async def undated_records(self) -> None:
        """Look at the records that have no time."""
        async for page in self._records.undated():
            await self._page(page)

    async def of_rows(self, page: Sequence[Row]) -> None:
        """Compare rows, each by its key."""
        keyless = [row.id for row in page if row.key is None]
        if keyless:
            await self._missing_for_ever(keyless)
        await self.by_key(row.key for row in page if row.key is not None)

    async def ask(self, work: Callable[[Connection], _Result]) -> _Result:
        """Ask Postgres, in a transaction of its own that may be repeated."""
        return await asyncio.to_thread(self._database.transact, work, repeatable=True)

    async def _page(self, page: Sequence[Record]) -> set[UUID]:
        """Compare a page of records with their rows; returns the keys.

        The rows are read after the records: a record without a row is truly so.
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
        """Rows whose record was not among those of their time.

        One that another flow's record explains is not looked for by its key: there may
        be as many as that flow delivered, and adopting looks again.
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
            # As text, since NaN is not equal to itself.
            moved = {
                key for key in suspects if repr(before.get(key)) != repr(after.get(key))
            }
            _withdraw(verdicts, moved)
        await self._keep(verdicts)
        self.compared += sum(bool(row.exported_at) for row in before.values())

    async def _missing_for_ever(self, ids: Sequence[str]) -> None:
        """Rows whose id can be no key, so that no record is theirs."""
        await self._keep(Verdicts(missing=[Row(each, None, None, {}) for each in ids]))

    async def _keep(self, verdicts: Verdicts) -> None:
        now = datetime.now(UTC)
        await self.ask(lambda c: findings.record(c, self._resource, verdicts, now))


def _judge(
    keys: Sequence[UUID], found: Mapping[UUID, Row], records: Mapping[UUID, Record]
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
            # Pending, or in quarantine: the sync will see to it.
            continue
        if record is None:
            verdicts.missing.append(row)
        elif columns := differing_columns(row.values, record):
            verdicts.different.append((row, columns))
    return verdicts


def _withdraw(verdicts: Verdicts, moved: set[UUID]) -> None:
    """Say nothing of what changed while it was looked at; the next run looks again."""
    verdicts.missing = [row for row in verdicts.missing if row.key not in moved]
    verdicts.different = [
        (row, columns) for row, columns in verdicts.different if row.key not in moved
    ]
    for key in moved & verdicts.foreign.keys():
        del verdicts.foreign[key]
