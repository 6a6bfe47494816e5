"""The stream of rows: pending → Dataverse → marked, without a pause between pages.

Invariant: a row is marked only after Dataverse acknowledged it, and only in the version
that was sent. A stream can stop anywhere: work is repeated and nothing is lost, because
the upsert is keyed by the row's own id.

These tasks run concurrently: one reads pages ahead, one cuts requests as slots become
free, each request is a task, and one writes the outcomes back to Postgres. The queues
between them are bounded, so memory does not grow with the backlog.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.dataverse.pacing import MAX_CONCURRENCY
from apex_pipeline.dataverse.request_size import MOST_BYTES, RequestSize
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import ApexError, OutOfTimeError
from apex_pipeline.metrics import CampaignMetric, Rejection, read_metric
from apex_pipeline.postgres.pending_rows import PendingRow, Position
from apex_pipeline.sync.delivery_outcome import Delivery
from apex_pipeline.sync.request_delivery import MetricSink
from apex_pipeline.sync.row_sources import RowSource
from apex_pipeline.sync.run_options import StreamOptions, utc_now
from apex_pipeline.sync.systemic_faults import Breaker
from apex_pipeline.sync.tally import PREVIEW_ROWS, Tally
from apex_pipeline.sync.write_back import WriteBack

# Waiters wake at least this often, because no event announces the deadline.
_LOOK_AGAIN_SECONDS = 0.5

# The rest of a target: its type, its key, and punctuation.
_BYTES_AROUND_FIELDS = 150


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A row on its way: as read from Postgres, and as sent to Dataverse."""

    row: PendingRow
    metric: CampaignMetric


class Stream:
    """Moves pending rows into Dataverse once, from first to last."""

    def __init__(
        self,
        source: RowSource,
        sink: MetricSink,
        options: StreamOptions,
        deadline: Deadline,
        beat: Callable[[], Awaitable[None]],
        *,
        beat_seconds: float = 20.0,
        now: Callable[[], datetime] = utc_now,
        size: RequestSize | None = None,
        slots: Callable[[], int] = lambda: MAX_CONCURRENCY,
        expected: int = sys.maxsize,
        tally: Tally | None = None,
    ) -> None:
        """Prepare the stream.

        Args:
            source: Pending rows.
            sink: Dataverse.
            options: Sizes and limits.
            deadline: When reading and sending end; in-flight requests are awaited.
            beat: Called every `beat_seconds`; an error it raises stops the stream.
            beat_seconds: Much less than the 90 s after which Postgres ends an idle
                transaction, and the writer lock with it.
            now: The clock for marks; aware, UTC.
            size: Rows per request; by default taken from the options.
            slots: How many deliveries may run at once.
            expected: How many rows there are to send, if known.
            tally: Continue these counts.
        """
        self._source = source
        self._sink = sink
        self._options = options
        self._deadline = deadline
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._breaker = Breaker()
        self._size = size or RequestSize(fixed=options.rows_per_request)
        self._slots = slots
        self._left = expected if options.limit is None else min(expected, options.limit)
        self._waiting: deque[_Parcel] = deque()
        # Records of the rows that wait or are under way.
        self._claimed: set[str] = set()
        self._is_all_read = False
        # Expected end of each delivery under way, by the event loop's clock.
        self._ends: dict[str, float] = {}
        self._has_begun = False
        self._news = asyncio.Condition()
        self.tally = tally or Tally()
        self._write_back = WriteBack(
            source, self.tally, now, self._stop, dry_run=options.dry_run
        )

    async def run(self) -> None:
        """Stream rows until none is left, time runs out, or an error stops it."""
        async with asyncio.TaskGroup() as life:
            heart = life.create_task(self._keep_beating())
            async with asyncio.TaskGroup() as write_back:
                write_back.create_task(self._write_back.run())
                async with asyncio.TaskGroup() as flow:
                    flow.create_task(self._read())
                    flow.create_task(self._send(flow))
                await self._write_back.put(rejections=self._close_breaker())
                await self._write_back.close()
            heart.cancel()

    @property
    def _is_stopped(self) -> bool:
        return self._deadline.remaining() <= 0 or self.tally.out_of_time is not None

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

    def _stop(self, error: ApexError) -> None:
        """Start nothing more; only the first error is reported."""
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
                self.tally.rows_read += len(page)
                await self._pass_on(page)
        except ApexError as error:
            self._stop(error)
        self._is_all_read = True
        await self._tell()

    def _next_page_size(self) -> int:
        if self._options.limit is None:
            return self._options.page_size
        return min(self._options.page_size, self._options.limit - self.tally.rows_read)

    async def _pass_on(self, page: list[PendingRow]) -> None:
        """Validate a page and queue its rows."""
        parcels: list[_Parcel] = []
        invalid: list[Rejection] = []
        for row in page:
            metric = read_metric(row.values)
            if isinstance(metric, Rejection):
                invalid.append(metric)
            else:
                parcels.append(_Parcel(row, metric))
        await self._write_back.put(rejections=invalid)
        self._left -= len(invalid)
        if self._options.dry_run:
            return
        async with self._news:
            await self._news.wait_for(self._has_room)
            self._queue(parcels)
            self._news.notify_all()

    def _queue(self, parcels: list[_Parcel]) -> None:
        """Queue rows, except those of which an earlier version is still on its way.

        A row whose `created_at` was moved is read again, and its two requests could
        land in either order. It stays pending: the earlier version's mark fails.
        """
        for parcel in parcels:
            if parcel.metric.key not in self._claimed:
                self._claimed.add(parcel.metric.key)
                self._waiting.append(parcel)

    def _has_room(self) -> bool:
        # Enough rows for every free slot while another page is being read.
        free = max(self._slots() - len(self._ends), 2)
        enough = max(self._options.page_size, free * self._size.rows)
        return self._is_stopped or len(self._waiting) < enough

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _send(self, flow: asyncio.TaskGroup) -> None:
        """Start a delivery whenever there are rows and a free slot."""
        while True:
            async with self._news:
                while not (portion := self._cut()):
                    is_over = self._is_all_read and not self._waiting
                    if is_over or self._is_stopped:
                        # The reader may be waiting for room.
                        self._news.notify_all()
                        return
                    try:
                        async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                            await self._news.wait()
                    except TimeoutError:
                        continue
                self._news.notify_all()
            expected = self._size.expected_seconds(len(portion))
            deadline = self._deadline.before(expected if self._has_begun else 0.0)
            self._has_begun = True
            self._ends[portion[0].metric.id] = self._clock() + expected
            flow.create_task(self._deliver(portion, deadline))

    def _cut(self) -> list[_Parcel]:
        """The rows of the next request; empty without a free slot or a waiting row."""
        slots = self._slots()
        if self._is_stopped or not self._waiting or len(self._ends) >= slots:
            return []
        now = self._clock()
        rows = self._size.portion(
            left=self._left,
            slots=slots,
            seconds=self._deadline.remaining(),
            busy=[max(end - now, 0.0) for end in self._ends.values()],
        )
        if not rows:
            self.tally.out_of_time = OutOfTimeError("The time budget is used up.")
        if len(self._waiting) < rows and not self._is_all_read:
            return []
        portion: list[_Parcel] = []
        room = MOST_BYTES
        while self._waiting and len(portion) < rows:
            room -= len(self._waiting[0].metric.fields) + _BYTES_AROUND_FIELDS
            if portion and room < 0:
                break
            portion.append(self._waiting.popleft())
        self._left = max(self._left - len(portion), len(self._waiting))
        return portion

    async def _deliver(self, portion: list[_Parcel], deadline: Deadline) -> None:
        metrics = [parcel.metric for parcel in portion]
        delivery = await self._sink.deliver(metrics, deadline)
        self._learn(delivery)
        del self._ends[portion[0].metric.id]
        self._claimed.difference_update(each.key for each in metrics)
        await self._tell()
        landed = set(delivery.acknowledged)
        rows = tuple(each.row for each in portion if each.metric.id in landed)
        self.tally.preview.extend(
            [each.fields for each in metrics if each.id in landed][-PREVIEW_ROWS:]
        )
        await self._write_back.put(rows, delivery.rejections)
        await self._write_back.put(rejections=self._judge(delivery))

    def _learn(self, delivery: Delivery) -> None:
        if isinstance(delivery.failure, OutOfTimeError):
            self.tally.out_of_time = self.tally.out_of_time or delivery.failure
        elif delivery.failure is not None:
            self._stop(delivery.failure)
        for timing in delivery.timings:
            if timing.is_too_much:
                self._size.failed(timing.rows, timing.seconds)
                self.tally.too_much = timing
            else:
                self._size.answered(timing.rows, timing.seconds)

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
        """Suspects to quarantine at the end; none if the run failed.

        The failure may be what caused the rejections.
        """
        if self.tally.failure is not None:
            return []
        try:
            return self._breaker.close()
        except ApexError as error:
            self._stop(error)
            return []

    async def _keep_beating(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._beat_seconds)
                await self._beat()
        except ApexError as error:
            self._stop(error)
