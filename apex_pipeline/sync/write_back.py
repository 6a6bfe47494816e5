"""Write the outcome of each request back to Postgres: mark its rows, or put them aside."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY
from apex_pipeline.errors import ApexError, MarkSwallowedError
from apex_pipeline.metrics import Rejection
from apex_pipeline.postgres.pending_rows import PendingRow
from apex_pipeline.postgres.row_marks import Marks
from apex_pipeline.sync.row_sources import RowSource
from apex_pipeline.sync.tally import Tally


@dataclass(frozen=True, slots=True)
class _Outcome:
    acknowledged: Sequence[PendingRow]
    rejections: Sequence[Rejection]


class WriteBack:
    """Records outcomes in the order in which they come, several in one statement.

    The queue is bounded, so a slow Postgres slows the sending down.
    """

    def __init__(
        self,
        source: RowSource,
        tally: Tally,
        now: Callable[[], datetime],
        stop: Callable[[ApexError], None],
        *,
        dry_run: bool,
    ) -> None:
        """Prepare; `run` does the work.

        Args:
            source: Records the outcomes.
            tally: Counts them.
            now: The clock for marks; aware, UTC.
            stop: Called with the error if Postgres does not keep an outcome.
            dry_run: Count rejections only.
        """
        self._source = source
        self._tally = tally
        self._now = now
        self._stop = stop
        self._dry_run = dry_run
        self._outcomes: asyncio.Queue[_Outcome | None] = asyncio.Queue(MAX_CONCURRENCY)

    async def put(
        self,
        acknowledged: Sequence[PendingRow] = (),
        rejections: Sequence[Rejection] = (),
    ) -> None:
        """Queue rows that Dataverse acknowledged, and rows that were rejected."""
        if acknowledged or rejections:
            await self._outcomes.put(_Outcome(acknowledged, rejections))

    async def close(self) -> None:
        """Let `run` end when it has recorded what is queued."""
        await self._outcomes.put(None)

    async def run(self) -> None:
        """Record the outcomes until `close`, even after a failure.

        If Postgres itself fails, acknowledged rows stay pending. Sending them again
        changes nothing in Dataverse.
        """
        is_lost = False
        while (outcomes := await self._next()) is not None:
            if is_lost:
                continue
            try:
                marks = await asyncio.to_thread(self._record, outcomes)
            except ApexError as error:
                self._stop(error)
                is_lost = True
            else:
                if marks.swallowed:
                    self._stop(_swallowed(marks))

    async def _next(self) -> list[_Outcome] | None:
        """All waiting outcomes, so one statement serves many requests."""
        first = await self._outcomes.get()
        if first is None:
            return None
        outcomes = [first]
        while not self._outcomes.empty():
            outcome = self._outcomes.get_nowait()
            if outcome is None:
                self._outcomes.put_nowait(None)
                break
            outcomes.append(outcome)
        return outcomes

    def _record(self, outcomes: list[_Outcome]) -> Marks:
        now = self._now()
        acknowledged = [row for each in outcomes for row in each.acknowledged]
        rejections = [one for each in outcomes for one in each.rejections]
        marks = (
            self._source.mark_exported(acknowledged, now) if acknowledged else Marks()
        )
        self._tally.delivered += marks.marked
        self._tally.changed += marks.changed
        self._tally.deleted += marks.deleted
        self._tally.locked += marks.locked
        held = 0
        if rejections and not self._dry_run:
            held = self._source.quarantine(rejections, now)
        self._tally.locked += held
        self._tally.rejected += len(rejections) - held
        return marks


def _swallowed(marks: Marks) -> MarkSwallowedError:
    found = ", ".join(marks.obstacles) or "none that this role can see"
    return MarkSwallowedError(
        f"Dataverse acknowledged {marks.swallowed} rows, but Postgres did not keep "
        "their mark: exported_at is unchanged, so every run would send them again. "
        f"Possible obstacles on campaign_metrics: {found}. Let the pipeline's role set "
        "exported_at: change the trigger or rule, or give the role an UPDATE policy. "
        "`apex doctor` tests this without sending anything."
    )
