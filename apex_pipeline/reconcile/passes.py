"""The steps of one run: compare the changes on both sides, and a share of the rest.

Dataverse reports its changes, including deletions. Postgres knows which rows were marked
since the last run, but not which marked rows changed, because the agents' table has no
time of change. So each run also compares a thirtieth of the table in turn, and finds any
such change within thirty daily runs.

Progress is stored after each step; a killed run repeats one step at most.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from apex_pipeline.errors import RejectedError, SchemaDriftError
from apex_pipeline.reconcile import (
    exported_rows,
    findings,
    foreign_records,
    progress as kept,
)
from apex_pipeline.reconcile.dataverse_records import (
    KEYS_PER_REQUEST,
    Records,
    changed_key,
)
from apex_pipeline.reconcile.findings import MOST_KEPT
from apex_pipeline.reconcile.progress import PassProgress
from apex_pipeline.reconcile.row_examination import Examination

logger = logging.getLogger(__name__)

ROWS_PER_WINDOW = 4900
"""A page of Dataverse holds a hundred more, for the second on either side of a window."""

DAYS_PER_ROUND = 30

_FEW_CHANGES = 5000
"""Up to this many changes are compared one by one, however small the table is."""
_FOREIGN_LOOKED_AT_AGAIN = 2500
_REMEMBERED = 100_000


class FindingsFullError(Exception):
    """The storage for findings is full; the remaining rows have to wait."""


class Passes:
    """The steps of one run; each resumes where the last run stopped.

    Attributes:
        changes: Changed and deleted records that Dataverse reported.
        steps_kept: How often progress was kept, from where the next run goes on.
        notes: What could not be done, though nothing failed.
    """

    def __init__(
        self,
        resource: str,
        records: Records,
        examination: Examination,
        progress: PassProgress,
        *,
        started: datetime,
        rows_per_window: int = ROWS_PER_WINDOW,
    ) -> None:
        self._resource = resource
        self._records = records
        self._examination = examination
        self._progress = progress
        self._started = started
        self._rows_per_window = rows_per_window
        # A smaller page than a request can name would only cost more requests.
        self._rows_by_key = max(rows_per_window, KEYS_PER_REQUEST)
        self._looked_at: set[UUID] = set()
        self._changed = 0
        self.changes = 0
        self.steps_kept = 0
        self.notes: list[str] = []

    async def look_again(self) -> None:
        """Compare the findings of earlier runs again.

        Raises:
            OutOfTimeError: The time or request budget is used up.
        """
        ask = self._examination.ask
        await ask(lambda c: findings.forget_unmarked(c, self._resource))
        found = await ask(
            lambda c: findings.rows_page(c, self._resource, None, 2 * MOST_KEPT)
        )
        foreign = await ask(
            lambda c: foreign_records.longest_unseen(
                c, self._resource, self._started, _FOREIGN_LOOKED_AT_AGAIN
            )
        )
        await self._examination.by_key(
            [*(key for _, key in found if key is not None), *foreign]
        )

    async def recent_days(self, days: int) -> None:
        """Compare the rows and records of the last days.

        Raises:
            OutOfTimeError: The time or request budget is used up.
            FindingsFullError: No more findings can be stored.
        """
        start = self._started - timedelta(days=days)
        at = PassProgress(pass_second=int(start.timestamp()))
        while not await self._next_window(at, is_kept=False):
            pass

    async def changes_in_dataverse(self) -> None:
        """Follow change tracking; start it if it is new or has expired.

        Raises:
            OutOfTimeError: The time or request budget is used up.
            FindingsFullError: No more findings can be stored.
        """
        progress = self._progress
        while True:
            try:
                page = await self._records.changes(progress.tracking_link)
            except (RejectedError, SchemaDriftError) as error:
                if progress.tracking_link is None:
                    self._without_tracking(str(error))
                    return
                logger.info("change tracking restarts: %s", error)
                progress.tracking_link = None
                progress.is_tracking = False
                progress.begin_pass(None, is_full=True)
                continue
            if progress.is_tracking:
                self.changes += len(page.records)
                await self._look_at(changed_key(each) for each in page.records)
            progress.tracking_link = page.next_link or page.delta_link
            progress.is_tracking |= page.delta_link is not None
            await self._save()
            if page.next_link is None:
                if page.delta_link is None:
                    self._without_tracking("It returned no link to later changes.")
                return

    async def marked_since(self) -> None:
        """Compare the rows that were marked since the last run.

        Raises:
            OutOfTimeError: The time or request budget is used up.
            FindingsFullError: No more findings can be stored.
        """
        progress = self._progress
        if progress.exported_since is not None:
            since, after = exported_rows.overlap(progress.exported_since), ""
            while page := await self._examination.ask(
                partial(
                    exported_rows.exported_page,
                    since=since,
                    after=after,
                    limit=self._rows_by_key,
                )
            ):
                await self._look_at(row.key for row in page if row.key is not None)
                since, after = str(page[-1].exported_at), page[-1].id
        progress.exported_since = self._started
        await self._save()

    async def all_there_is(self) -> None:
        """Continue through the table: to its end, or by one day's share.

        Raises:
            OutOfTimeError: The time or request budget is used up.
            FindingsFullError: No more findings can be stored.
        """
        progress = self._progress
        share = progress.last_pass_rows // DAYS_PER_ROUND
        if progress.pass_started_at is None:
            progress.begin_pass(self._started, is_full=progress.pass_is_full)
        begun = progress.pass_rows
        while not await self._next_window(progress, is_kept=True):
            if not progress.pass_is_full and progress.pass_rows - begun >= share:
                return
        await self._finish_pass()

    async def _finish_pass(self) -> None:
        """Compare rows and records without a valid time; delete vanished records."""
        progress = self._progress
        after = None
        while page := await self._examination.ask(
            lambda c: exported_rows.odd_page(c, after, self._rows_by_key)  # noqa: B023  asked at once
        ):
            await self._examination.of_rows(page)
            progress.pass_rows += len(page)
            after = page[-1].id
        await self._examination.undated_records()
        begun = progress.pass_started_at or self._started
        await self._examination.ask(
            lambda c: foreign_records.forget_unseen(c, self._resource, begun)
        )
        # Without change tracking, each run has to compare everything.
        progress.finish_pass(
            datetime.now(UTC), next_is_full=progress.tracking_link is None
        )
        await self._save()

    async def _next_window(self, at: PassProgress, *, is_kept: bool) -> bool:
        """Compare the next window; return whether it was the last."""
        window = await self._examination.ask(
            lambda c: exported_rows.read_window(
                c, at.pass_second, self._rows_per_window
            )
        )
        if at.pass_after_id is None or window.dense_second is None:
            at.pass_rows += await self._examination.window(window)
        if window.dense_second is not None:
            await self._dense(window.dense_second, at, is_kept=is_kept)
        at.pass_second, at.pass_after_id = window.end, None
        if window.end is not None and is_kept:
            await self._save()
        await self._check_room()
        return window.end is None

    async def _dense(self, second: int, at: PassProgress, *, is_kept: bool) -> None:
        at.pass_after_id = at.pass_after_id or ""
        # Postgres sorts the second for each page.
        limit = 2 * self._rows_per_window
        while page := await self._examination.dense_rows(
            second, at.pass_after_id, limit
        ):
            at.pass_rows += len(page)
            at.pass_after_id = page[-1].id
            if is_kept:
                await self._save()
            await self._check_room()

    async def _look_at(self, keys: Iterable[UUID]) -> None:
        """Compare changed records by key, unless a full comparison costs less.

        A record costs twenty times as much by key as in a window.
        """
        progress = self._progress
        is_under_way = progress.pass_second is not None
        if progress.pass_is_full and not is_under_way:
            return
        fresh = [key for key in keys if key not in self._looked_at]
        self._changed += len(fresh)
        # A full pass that is running does not restart: it might never end.
        if (
            self._changed > max(_FEW_CHANGES, progress.last_pass_rows // 20)
            and not progress.pass_is_full
        ):
            logger.info("many records have changed; comparing all rows")
            progress.begin_pass(None, is_full=True)
            return
        if len(self._looked_at) < _REMEMBERED:
            self._looked_at.update(fresh)
        await self._examination.by_key(fresh)
        await self._check_room()

    async def _check_room(self) -> None:
        found = await self._examination.ask(
            lambda c: findings.rows_found(c, self._resource)
        )
        if found >= MOST_KEPT:
            raise FindingsFullError

    def _without_tracking(self, reason: str) -> None:
        self._progress.tracking_link = None
        self._progress.is_tracking = False
        self.notes.append(
            "Change tracking is not available, so each run compares all rows. "
            f"`apex provision dataverse` shows whether it is on. {reason}"
        )

    async def _save(self) -> None:
        await self._examination.ask(
            lambda c: kept.save_progress(c, self._resource, self._progress)
        )
        self.steps_kept += 1
