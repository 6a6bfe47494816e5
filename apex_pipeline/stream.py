"""The flow of rows: pending → Dataverse → marked, without a pause between pages.

Invariant: a row is marked only after the answer that acknowledged it. Whatever stops
the stream, and wherever, repeats work and loses nothing, because the upsert is keyed
by the row's own id.

Three kinds of task run side by side: one reads pages ahead, many deliver, one writes
back what came of it. The queues between them are short, so memory does not grow with
the backlog.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from apex_pipeline.breaker import Breaker
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY
from apex_pipeline.delivery import Delivery
from apex_pipeline.errors import ApexError, OutOfTimeError
from apex_pipeline.metrics import CampaignMetric, Rejection, read_metric
from apex_pipeline.pending import PendingRow, Position

logger = logging.getLogger(__name__)

_PREVIEW_ROWS = 10


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


class Source(Protocol):
    """Where pending rows come from and what became of them goes."""

    def pending_page(self, after: Position | None, limit: int) -> list[PendingRow]:
        """The next rows in order."""

    def mark_exported(self, ids: Sequence[str], at: datetime) -> int:
        """Write back that Dataverse holds these rows; returns how many were not so."""

    def quarantine(self, rejections: Sequence[Rejection], at: datetime) -> None:
        """Put rows aside, each with its reason, until they are due again."""


class Sink(Protocol):
    """Where metrics go."""

    async def deliver(
        self, metrics: Sequence[CampaignMetric], deadline: Deadline
    ) -> Delivery:
        """Deliver one request's worth of metrics."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How much, and in what portions.

    Attributes:
        page_size: Rows read from Postgres at a time.
        rows_per_request: Rows in one `UpsertMultiple`; Microsoft's guidance for small
            rows on a standard table begins at 100.
        limit: Read no more rows than this.
        dry_run: Read and validate; send nothing and mark nothing.
    """

    page_size: int = 1000
    rows_per_request: int = 100
    limit: int | None = None
    dry_run: bool = False


@dataclass(slots=True)
class Tally:
    """What a stream has done so far.

    Attributes:
        read: Rows read.
        delivered: Rows acknowledged by Dataverse and marked.
        rejected: Rows refused, here or there, and quarantined.
        failure: What stopped it, if anything did.
        out_of_time: That Dataverse's limits stopped it, and until when.
        preview: The last rows delivered, as JSON objects.
    """

    read: int = 0
    delivered: int = 0
    rejected: int = 0
    failure: ApexError | None = None
    out_of_time: OutOfTimeError | None = None
    preview: deque[str] = field(default_factory=lambda: deque(maxlen=_PREVIEW_ROWS))


@dataclass(frozen=True, slots=True)
class _Result:
    acknowledged: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()


class Stream:
    """One passage of pending rows into Dataverse."""

    def __init__(
        self,
        source: Source,
        sink: Sink,
        options: StreamOptions,
        deadline: Deadline,
        beat: Callable[[], Awaitable[None]],
        *,
        beat_seconds: float = 20.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Prepare a passage.

        Args:
            source: Pending rows.
            sink: Dataverse.
            options: Portions and limits.
            deadline: When reading and sending end; in-flight requests are awaited.
            beat: Called every `beat_seconds`; what it raises stops the stream.
            beat_seconds: Much less than the 90 s after which Postgres ends a
                transaction that lies idle, and with it the writer lock.
            now: The clock that rows are marked by; aware, UTC.
        """
        self._source = source
        self._sink = sink
        self._options = options
        self._deadline = deadline
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._now = now
        self._breaker = Breaker()
        ahead = max(options.page_size // options.rows_per_request, 1)
        self._portions: asyncio.Queue[list[CampaignMetric] | None] = asyncio.Queue(
            ahead
        )
        self._results: asyncio.Queue[_Result | None] = asyncio.Queue(MAX_CONCURRENCY)
        self.tally = Tally()

    async def run(self) -> None:
        """Let rows flow until none is left, time is over, or something stops it."""
        async with asyncio.TaskGroup() as life:
            heart = life.create_task(self._keep_beating())
            async with asyncio.TaskGroup() as write_back:
                write_back.create_task(self._write_back())
                async with asyncio.TaskGroup() as flow:
                    flow.create_task(self._read())
                    for _ in range(MAX_CONCURRENCY):
                        flow.create_task(self._deliver())
                await self._release(self._close_breaker())
                await self._results.put(None)
            heart.cancel()

    @property
    def _is_stopped(self) -> bool:
        return self._deadline.remaining() <= 0 or self.tally.out_of_time is not None

    def _stop(self, error: ApexError) -> None:
        """Begin nothing more; the first cause is the one that is reported."""
        if self.tally.failure is None:
            self.tally.failure = error
        self._deadline.cut()

    async def _read(self) -> None:
        try:
            position: Position | None = None
            while not self._is_stopped:
                size = self._next_page_size()
                page = (
                    await asyncio.to_thread(self._source.pending_page, position, size)
                    if size
                    else []
                )
                if not page:
                    break
                position = page[-1].position
                self.tally.read += len(page)
                await self._pass_on(page)
        except ApexError as error:
            self._stop(error)
        # Not in a finally clause: whoever ends this task ended the deliverers too, and
        # nobody would make room in a full queue.
        await self._portions.put(None)

    def _next_page_size(self) -> int:
        if self._options.limit is None:
            return self._options.page_size
        return min(self._options.page_size, self._options.limit - self.tally.read)

    async def _pass_on(self, page: list[PendingRow]) -> None:
        """Validate a page, and cut it into portions of one request each."""
        metrics: list[CampaignMetric] = []
        invalid: list[Rejection] = []
        for row in page:
            metric = read_metric(row.values)
            if isinstance(metric, Rejection):
                invalid.append(metric)
            else:
                metrics.append(metric)
        await self._release(invalid)
        step = self._options.rows_per_request
        for start in range(0, len(metrics), step):
            if self._is_stopped:
                return
            await self._portions.put(metrics[start : start + step])

    async def _deliver(self) -> None:
        while (metrics := await self._portions.get()) is not None:
            if self._is_stopped or self._options.dry_run:
                continue
            delivery = await self._sink.deliver(metrics, self._deadline)
            if isinstance(delivery.failure, OutOfTimeError):
                self.tally.out_of_time = self.tally.out_of_time or delivery.failure
            elif delivery.failure is not None:
                self._stop(delivery.failure)
            self._remember(metrics, delivery)
            await self._results.put(_Result(delivery.acknowledged, delivery.rejections))
            await self._release(self._judge(delivery))
        # The end is for every deliverer.
        await self._portions.put(None)

    def _judge(self, delivery: Delivery) -> list[Rejection]:
        rows = sum(
            map(len, (delivery.acknowledged, delivery.rejections, delivery.suspects))
        )
        try:
            return self._breaker.judge(rows, delivery.suspects)
        except ApexError as error:
            self._stop(error)
            return []

    def _close_breaker(self) -> list[Rejection]:
        """Suspects left over when all is judged; none if the run failed, to be fair."""
        if self.tally.failure is not None:
            return []
        try:
            return self._breaker.close()
        except ApexError as error:
            self._stop(error)
            return []

    async def _release(self, rejections: Sequence[Rejection]) -> None:
        if rejections:
            await self._results.put(_Result(rejections=tuple(rejections)))

    def _remember(self, metrics: Sequence[CampaignMetric], delivery: Delivery) -> None:
        if delivery.acknowledged:
            landed = set(delivery.acknowledged[-_PREVIEW_ROWS:])
            self.tally.preview.extend(m.fields for m in metrics if m.id in landed)

    async def _write_back(self) -> None:
        """Mark what was acknowledged, put aside what was refused; also after a failure.

        If Postgres itself fails, acknowledged rows stay pending and are sent again,
        which changes nothing in Dataverse.
        """
        is_lost = False
        while (results := await self._next_results()) is not None:
            if is_lost:
                continue
            try:
                await asyncio.to_thread(self._record, results)
            except ApexError as error:
                self._stop(error)
                is_lost = True

    async def _next_results(self) -> list[_Result] | None:
        """All results that are waiting, so that one statement serves many requests."""
        first = await self._results.get()
        if first is None:
            return None
        results = [first]
        while not self._results.empty():
            result = self._results.get_nowait()
            if result is None:
                self._results.put_nowait(None)
                break
            results.append(result)
        return results

    def _record(self, results: list[_Result]) -> None:
        now = self._now()
        acknowledged = [one for result in results for one in result.acknowledged]
        rejections = [one for result in results for one in result.rejections]
        if acknowledged:
            self._source.mark_exported(acknowledged, now)
            self.tally.delivered += len(acknowledged)
        if rejections and not self._options.dry_run:
            self._source.quarantine(rejections, now)
        self.tally.rejected += len(rejections)

    async def _keep_beating(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._beat_seconds)
                await self._beat()
        except ApexError as error:
            self._stop(error)
