"""What one run compares: what changed on either side, and a part of all there is.

Dataverse tells what changed there, deletions too. Postgres tells which rows were marked
since the last run; that a marked row was changed it does not tell, for the agents'
table keeps no time of change. So each run compares a thirtieth of the table besides,
going round: any such change is seen within thirty daily runs.

Progress is kept after each step, which a killed run repeats at most.
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
from apex_pipeline.reconcile.progress import Progress
from apex_pipeline.reconcile.row_examination import Examination

logger = logging.getLogger(__name__)

ROWS_PER_WINDOW = 4900
"""A page of Dataverse holds a hundred more: those of a second on either side are read
besides."""

DAYS_PER_ROUND = 30

_FEW_CHANGES = 5000
"""So many are looked at one by one, however small the table is."""
_FOREIGN_LOOKED_AT_AGAIN = 2500
_REMEMBERED = 100_000


class FindingsFullError(Exception):
    """As much is wrong as is kept; what was not looked at yet has to wait."""


class Passes:
    """The steps of one run, each resumed where the last run left it.

    Attributes:
        changes: Changed and deleted records that Dataverse told of.
        steps_kept: How often progress was kept, from where the next run goes on.
        notes: What could not be done, though nothing failed.
    """

    def __init__(
        self,
        resource: str,
        records: Records,
        examination: Examination,
        progress: Progress,
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
        # Fewer than a request can name would only cost requests.
        self._rows_by_key = max(rows_per_window, KEYS_PER_REQUEST)
        self._looked_at: set[UUID] = set()
        self._changed = 0
        self.changes = 0
        self.steps_kept = 0
        self.notes: list[str] = []

    async def look_again(self) -> None:
        """Compare anew what was wrong the last time.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
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
            OutOfTimeError: The time or the requests given are used up.
            FindingsFullError: Too much is wrong.
        """
        start = self._started - timedelta(days=days)
        at = Progress(pass_second=int(start.timestamp()))
        while not await self._next_window(at, is_kept=False):
            pass

    async def changes_in_dataverse(self) -> None:
        """Follow change tracking; where it has not begun, or has expired, begin it.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
            FindingsFullError: Too much is wrong.
        """
        progress = self._progress
        while True:
            try:
                page = await self._records.changes(progress.tracking_link)
            except (RejectedError, SchemaDriftError) as error:
                if progress.tracking_link is None:
                    self._without_tracking(str(error))
                    return
                logger.info("change tracking begins anew: %s", error)
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
                    self._without_tracking("It gave no link to later changes.")
                return

    async def marked_since(self) -> None:
        """Compare the rows that were marked since the last run.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
            FindingsFullError: Too much is wrong.
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
        """Go on through the table: to its end, or by a day's share of a round.

        Raises:
            OutOfTimeError: The time or the requests given are used up.
            FindingsFullError: Too much is wrong.
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
        """What lies outside of all time, and what is not there any more."""
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
        # Where nothing tells of changes, each run has to look at everything.
        progress.finish_pass(
            datetime.now(UTC), next_is_full=progress.tracking_link is None
        )
        await self._save()

    async def _next_window(self, at: Progress, *, is_kept: bool) -> bool:
        """Compare the next window; returns whether it was the last."""
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

    async def _dense(self, second: int, at: Progress, *, is_kept: bool) -> None:
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
        """Compare what changed, each by its key, unless comparing all costs less.

        A key by itself costs twenty times as much as in a window.
        """
        progress = self._progress
        is_under_way = progress.pass_second is not None
        if progress.pass_is_full and not is_under_way:
            return
        fresh = [key for key in keys if key not in self._looked_at]
        self._changed += len(fresh)
        # A full pass that is under way is not begun again: it might never end.
        if (
            self._changed > max(_FEW_CHANGES, progress.last_pass_rows // 20)
            and not progress.pass_is_full
        ):
            logger.info("much has changed: all rows are compared")
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
            "Change tracking is not to be had, so each run compares all rows. "
            f"`apex provision dataverse` says whether it is on. {reason}"
        )

    async def _save(self) -> None:
        await self._examination.ask(
            lambda c: kept.save_progress(c, self._resource, self._progress)
        )
        self.steps_kept += 1
