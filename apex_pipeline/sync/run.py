"""One run of the sync: pending → upsert → mark, by one writer, in bounded time."""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import REQUEST_TIMEOUT_SECONDS
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.dataverse.request_size import RequestSize
from apex_pipeline.dataverse.sender import RetryPolicy
from apex_pipeline.errors import (
    ApexError,
    DatabaseError,
    NoProgressError,
    OutOfTimeError,
)
from apex_pipeline.postgres.pending_rows import PendingSummary
from apex_pipeline.postgres.resent_rows import Slice, SliceSummary
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus
from apex_pipeline.postgres.store import Store
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.writer_lock import WriterLock
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.application_users import (
    ApplicationUsers,
    Refused,
    connect_users,
)
from apex_pipeline.sync.cutover import refuse_foreign_records
from apex_pipeline.sync.pacing_memory import PacingMemory, PacingState
from apex_pipeline.sync.request_delivery import DataverseSink, Sink
from apex_pipeline.sync.row_sources import PendingSource, SliceSource
from apex_pipeline.sync.stream import (
    Source,
    Stream,
    StreamOptions,
    Tally,
    utc_now,
)

DEFAULT_TIME_BUDGET_SECONDS = 240.0

_MOST = 0.5
_PAUSES = (0.0, 1.0, 3.0)
"""Seconds to wait before each attempt, while every row sent changes on the way."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of one run.

    Attributes:
        time_budget: Seconds after which the run starts no new work. Less than the five
            minutes between two ticks, so that runs never pile up.
        accept_duplicates: Deliver even if the table holds records that this pipeline
            did not create; remembered for later runs.
        part: Send these rows, exported or not, instead of the pending ones.
        settings: Fingerprints of the settings, for the audit trail.
        request_timeout: Seconds after which a request times out. A run exceeds its
            budget by at most this long.
        now: The clock; aware, UTC.
    """

    stream: StreamOptions = field(default_factory=StreamOptions)
    time_budget: float = DEFAULT_TIME_BUDGET_SECONDS
    accept_duplicates: bool = False
    part: Slice | None = None
    settings: Mapping[str, Json] | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    request_timeout: float = REQUEST_TIMEOUT_SECONDS
    beat_seconds: float = 20.0
    now: Callable[[], datetime] = utc_now
    make_sink: Callable[[DataverseClient, RetryPolicy], Sink] = DataverseSink


@dataclass(frozen=True, slots=True)
class SyncReport:
    """Results of one run.

    Attributes:
        delivered: Rows acknowledged, and marked in the version that was sent.
        changed: Acknowledged rows that changed on the way; they are still pending.
        deleted: Acknowledged rows that were deleted on the way.
        locked: Rows that another transaction held at the end; they stay as they were,
            pending or exported.
        remaining: Rows still pending and due; None where Postgres could not be asked.
        oldest_pending_age_seconds: Of the oldest row when the run began.
        skipped: Why nothing was attempted, if so.
        retry_at: When Dataverse takes requests again, if it throttled us.
        failure: What an operator has to fix, if the run failed.
        preview: The last records delivered, as JSON objects.
        part: The rows of the slice before the run; None if there was no slice.
        part_left: Rows of the slice that are still to be sent.
        rows_per_request: First request size of the next run; None if nothing was sent.
        refused: Application users that were left out while others delivered.
    """

    started_at: datetime
    finished_at: datetime
    read: int = 0
    delivered: int = 0
    rejected: int = 0
    changed: int = 0
    deleted: int = 0
    locked: int = 0
    remaining: int | None = None
    requests: int = 0
    throttled_seconds: float = 0.0
    token_hits: int = 0
    token_misses: int = 0
    oldest_pending_age_seconds: float | None = None
    skipped: str | None = None
    retry_at: datetime | None = None
    failure: ApexError | None = None
    preview: tuple[str, ...] = ()
    part: SliceSummary | None = None
    part_left: int | None = None
    rows_per_request: int | None = None
    refused: tuple[Refused, ...] = ()


def run_sync(
    store: Store,
    settings: DataverseSettings,
    token_cache: Path,
    options: SyncOptions,
    *,
    dagster_run_id: str | None = None,
) -> SyncReport:
    """Deliver pending rows, as far as time and Dataverse allow.

    The report holds a failure together with the results before it.

    Raises:
        DatabaseError: Postgres could not be queried for the lock or the pause.
    """
    started = options.now()
    store.spend(options.time_budget)
    lock = store.writer_lock()
    if isinstance(lock, HeldElsewhere):
        return _skipped(started, lock.told("another sync holds the writer lock"))
    with lock:
        pause = store.open_pause(pacing_keys(settings), started)
        if pause is not None:
            return _skipped(started, str(pause), pause.until)
        if options.stream.dry_run:
            run = _Run(store, settings, options, lock, None)
            return asyncio.run(store.interruptible(run.deliver(token_cache, started)))
        part = None if options.part is None else str(options.part)
        run_id = store.start_run(
            at=started,
            dagster_run_id=dagster_run_id,
            part=part,
            settings=options.settings,
        )
        run = _Run(store, settings, options, lock, run_id)
        try:
            report = asyncio.run(store.interruptible(run.deliver(token_cache, started)))
        except ApexError as error:
            report = SyncReport(started, options.now(), failure=error)
        return _recorded(store, run_id, report)


def had_to_wait(
    ended: OutOfTimeError | None, throttled_seconds: float, elapsed: float
) -> bool:
    """Whether Dataverse asked for a pause at the end of a run, or for most of it.

    Args:
        ended: What the run ended with, if it ran out of time.
        throttled_seconds: The pauses that Dataverse asked for.
        elapsed: Seconds since the run began.
    """
    is_paused = ended is not None and ended.retry_at is not None
    return is_paused or throttled_seconds > _MOST * elapsed


def pacing_key(settings: DataverseSettings) -> str:
    """Identify a budget: limits apply to one application user in one environment."""
    return f"{settings.resource} {settings.client_id}"


def pacing_keys(settings: DataverseSettings) -> list[str]:
    """The budgets of all application users."""
    return [pacing_key(user) for user in settings.users]


class _Run:
    """One run that holds the writer lock."""

    def __init__(
        self,
        store: Store,
        settings: DataverseSettings,
        options: SyncOptions,
        lock: WriterLock,
        run_id: int | None,
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._settings = settings
        self._options = options
        self._lock = lock
        self._size = RequestSize(
            timeout=options.request_timeout, fixed=options.stream.rows_per_request
        )
        self._pending = PendingSummary(0, None)
        self._part: SliceSummary | None = None
        self._began = time.monotonic()

    async def deliver(self, token_cache: Path, started: datetime) -> SyncReport:
        deadline = Deadline(self._options.time_budget)
        tally = Tally()
        async with connect_users(
            self._settings,
            token_cache,
            self._memory,
            self._options.make_sink,
            retry=self._options.retry,
            request_timeout=self._options.request_timeout,
            size=self._size,
        ) as users:
            try:
                if await asyncio.to_thread(self._rows_to_send):
                    if not self._options.stream.dry_run:
                        await self._guard_cutover(users, deadline)
                    tally = await self._stream(users, deadline)
            except OutOfTimeError as error:
                tally.out_of_time = error
            except ApexError as error:
                tally.failure = error
            tally.failure = tally.failure or self._lack_of_progress(users, tally)
            return await asyncio.to_thread(self._report, users, tally, started)

    def _rows_to_send(self) -> int:
        self._pending = self._store.pending_summary()
        if self._options.part is None:
            return self._pending.count
        self._part = self._store.slice_summary(self._options.part)
        return self._part.to_send

    def _source(self) -> Source:
        resource = self._settings.resource
        if self._options.part is None:
            return PendingSource(self._store, self._run_id, resource)
        return SliceSource(self._store, self._run_id, resource, self._options.part)

    def _memory(self, user: DataverseSettings) -> PacingMemory:
        return PacingMemory(self._store, pacing_key(user), self._options.now)

    def _states(
        self, users: ApplicationUsers
    ) -> list[tuple[PacingMemory, PacingState]]:
        # A size that the caller fixed says nothing about the best one.
        is_chosen = self._options.stream.rows_per_request is not None
        return users.states(None if is_chosen else self._size)

    async def _beat(self, users: ApplicationUsers) -> None:
        """Keep the lock's connection alive, and save pacing in case of a kill."""
        states = self._states(users)
        await asyncio.to_thread(self._lock.ping)
        for memory, state in states:
            await asyncio.to_thread(memory.save, state)

    async def _stream(self, users: ApplicationUsers, deadline: Deadline) -> Tally:
        """Stream the rows; try again if every row sent changed on the way.

        One row that happens to be updated meanwhile is no reason to fail the run.
        """
        tally = Tally()
        for pause in _PAUSES:
            await asyncio.sleep(min(pause, max(deadline.remaining(), 0.0)))
            await self._flow(users, deadline, tally)
            is_settled = tally.delivered or tally.rejected or tally.deleted
            if is_settled or tally.failure or not tally.changed + tally.locked:
                break
        return tally

    async def _flow(
        self, users: ApplicationUsers, deadline: Deadline, tally: Tally
    ) -> None:
        part = self._part
        stream = Stream(
            self._source(),
            users,
            self._options.stream,
            deadline,
            partial(self._beat, users),
            beat_seconds=self._options.beat_seconds,
            now=self._options.now,
            size=self._size,
            slots=users.slots,
            expected=self._pending.count if part is None else part.to_send,
            tally=tally,
        )
        await stream.run()

    def _lack_of_progress(
        self, users: ApplicationUsers, tally: Tally
    ) -> NoProgressError | None:
        """The error for a run that sent rows and achieved nothing; None for any other.

        Starting without budget is not a fault, nor is having to wait for Dataverse. Nor
        are rows that the application updates or locks just now: the next run sends them,
        and the health watch reports those that wait for too long.
        """
        answered = tally.rejected + tally.deleted + tally.changed + tally.locked
        if (
            not users.requests
            or tally.delivered + answered
            or had_to_wait(
                tally.out_of_time,
                users.least_throttled_seconds,
                time.monotonic() - self._began,
            )
        ):
            return None
        if tally.too_much is not None:
            slow = tally.too_much
            return NoProgressError(
                f"No row was marked: a request of {slow.rows} rows failed after "
                f"{slow.seconds:.0f} s; it took too long or was too large. The next run "
                f"sends {self._size.rows} rows per request. If this continues, look for what "
                "is slow in the environment: plug-ins and flows on the table, or a "
                "gateway in front of it."
            )
        late = tally.out_of_time
        if late is None:
            return None
        return NoProgressError(
            f"No row was marked within {self._options.time_budget:g} s. "
            f"{late.__cause__ or late} The rows stay pending. Give the run more time, or "
            "fix what Dataverse reported."
        )

    async def _guard_cutover(self, users: ApplicationUsers, deadline: Deadline) -> None:
        """Before the first delivery, check that no other flow fills the table."""
        resource = self._settings.resource
        if self._options.accept_duplicates:
            self._store.accept_duplicates(resource, self._options.now())
        if self._store.target(resource) is None:
            await users.ask(
                lambda client: refuse_foreign_records(
                    client, self._store, deadline, partial(self._beat, users)
                )
            )

    def _report(
        self, users: ApplicationUsers, tally: Tally, started: datetime
    ) -> SyncReport:
        """Count the rows that remain, and save what the next run needs."""
        remaining = part_left = None
        try:
            for memory, state in self._states(users):
                memory.save(state)
            if tally.delivered:
                self._store.record_delivery(self._settings.resource, started)
            remaining = self._store.pending_summary().count
            if self._options.part is not None:
                part = self._options.part.continued(started)
                part_left = self._store.slice_summary(part).to_send
        except DatabaseError as error:
            tally.failure = tally.failure or error
        oldest = self._pending.oldest_created_at
        out_of_time = tally.out_of_time
        return SyncReport(
            started_at=started,
            finished_at=self._options.now(),
            read=tally.read,
            delivered=tally.delivered,
            rejected=tally.rejected,
            changed=tally.changed,
            deleted=tally.deleted,
            locked=tally.locked,
            remaining=remaining,
            requests=users.requests,
            throttled_seconds=users.throttled_seconds,
            token_hits=users.token_hits,
            token_misses=users.token_misses,
            oldest_pending_age_seconds=(
                (started - oldest).total_seconds() if oldest else None
            ),
            retry_at=out_of_time.retry_at if out_of_time else None,
            failure=tally.failure,
            preview=tuple(tally.preview),
            part=self._part,
            part_left=part_left,
            rows_per_request=self._size.rows if tally.read else None,
            refused=users.refused,
        )


def _skipped(
    started: datetime, reason: str, retry_at: datetime | None = None
) -> SyncReport:
    return SyncReport(started, started, skipped=reason, retry_at=retry_at)


def _recorded(store: Store, run_id: int, report: SyncReport) -> SyncReport:
    """Write the report to the ledger.

    A process that dies before this leaves its run open; the next run closes it.
    """
    failure = report.failure
    record = RunRecord(
        status=RunStatus.SUCCESS if failure is None else RunStatus.FAILURE,
        finished_at=report.finished_at,
        rows_read=report.read,
        delivered=report.delivered,
        rejected=report.rejected,
        changed=report.changed,
        deleted=report.deleted,
        locked=report.locked,
        remaining=report.remaining,
        requests=report.requests,
        throttled_seconds=report.throttled_seconds,
        token_cache_hits=report.token_hits,
        token_cache_misses=report.token_misses,
        oldest_pending_age_seconds=report.oldest_pending_age_seconds,
        retry_at=report.retry_at,
        error=None if failure is None else str(failure),
    )
    try:
        store.finish_run(run_id, record)
    except DatabaseError as error:
        return report if failure else dataclasses.replace(report, failure=error)
    return report
