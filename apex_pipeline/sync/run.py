"""One run of the sync: pending → upsert → mark, by one writer, in bounded time."""

import asyncio
import time
from datetime import datetime
from functools import partial
from pathlib import Path

from apex_pipeline.dataverse.request_size import RequestSize
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import (
    ApexError,
    DatabaseError,
    NoProgressError,
    OutOfTimeError,
)
from apex_pipeline.postgres import (
    dataverse_targets,
    pending_rows,
    resent_rows,
    stored_pacing,
)
from apex_pipeline.postgres.pending_rows import PendingSummary
from apex_pipeline.postgres.resent_rows import SliceSummary
from apex_pipeline.postgres.store import Store
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.writer_lock import WriterLock
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.application_users import (
    ApplicationUsers,
    connect_users,
)
from apex_pipeline.sync.cutover import refuse_foreign_records
from apex_pipeline.sync.lack_of_progress import lack_of_progress
from apex_pipeline.sync.pacing_memory import (
    PacingMemory,
    PacingState,
    pacing_key,
    pacing_keys,
)
from apex_pipeline.sync.row_sources import PendingSource, RowSource, SliceSource
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline.sync.stream import Stream
from apex_pipeline.sync.sync_report import SyncReport, recorded, skipped
from apex_pipeline.sync.tally import Tally

_PAUSES = (0.0, 1.0, 3.0)
"""Seconds to wait before each attempt, while every row sent changes on the way."""


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
        return skipped(started, lock.told("another sync holds the writer lock"))
    with lock:
        pause = store.ask(stored_pacing.open_pause, pacing_keys(settings), started)
        if pause is not None:
            return skipped(started, str(pause), pause.until)
        if options.stream.dry_run:
            run = _SyncRun(store, settings, options, lock, None)
            return store.run(run.deliver(token_cache, started))
        part = None if options.part is None else str(options.part)
        run_id = store.start_run(
            at=started,
            dagster_run_id=dagster_run_id,
            part=part,
            settings=options.settings,
        )
        run = _SyncRun(store, settings, options, lock, run_id)
        try:
            report = store.run(run.deliver(token_cache, started))
        except ApexError as error:
            report = SyncReport(
                started_at=started, finished_at=options.now(), failure=error
            )
        return recorded(store, run_id, report)


class _SyncRun:
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
        self._has_rows = False
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
                self._has_rows = await asyncio.to_thread(self._rows_to_send) > 0
                if self._has_rows:
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
        self._pending = self._store.ask(pending_rows.summary)
        if self._options.part is None:
            return self._pending.count
        self._part = self._store.ask(resent_rows.summary, self._options.part)
        return self._part.to_send

    def _source(self) -> RowSource:
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
        if not self._has_rows:
            return None
        return lack_of_progress(
            tally,
            throttled_seconds=users.least_throttled_seconds,
            elapsed=time.monotonic() - self._began,
            next_rows=self._size.rows,
            time_budget=self._options.time_budget,
        )

    async def _guard_cutover(self, users: ApplicationUsers, deadline: Deadline) -> None:
        """Before the first delivery, check that no other flow fills the table."""
        resource = self._settings.resource
        if self._options.accept_duplicates:
            self._store.accept_duplicates(resource, self._options.now())
        if self._store.ask(dataverse_targets.target, resource) is None:
            await users.ask(
                lambda client: refuse_foreign_records(
                    client,
                    lambda ids: self._store.ask(pending_rows.known_ids, ids),
                    deadline,
                    partial(self._beat, users),
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
                self._store.ask(
                    dataverse_targets.record_delivery, self._settings.resource, started
                )
            remaining = self._store.ask(pending_rows.summary).count
            if self._options.part is not None:
                part = self._options.part.continued(started)
                part_left = self._store.ask(resent_rows.summary, part).to_send
        except DatabaseError as error:
            tally.failure = tally.failure or error
        oldest = self._pending.oldest_created_at
        out_of_time = tally.out_of_time
        return SyncReport(
            started_at=started,
            finished_at=self._options.now(),
            rows_read=tally.rows_read,
            delivered=tally.delivered,
            rejected=tally.rejected,
            changed=tally.changed,
            deleted=tally.deleted,
            locked=tally.locked,
            remaining=remaining,
            requests=users.requests,
            throttled_seconds=users.throttled_seconds,
            token_cache_hits=users.token_hits,
            token_cache_misses=users.token_misses,
            oldest_pending_age_seconds=(
                (started - oldest).total_seconds() if oldest else None
            ),
            retry_at=out_of_time.retry_at if out_of_time else None,
            failure=tally.failure,
            preview=tuple(tally.preview),
            part=self._part,
            part_left=part_left,
            rows_per_request=self._size.rows if tally.rows_read else None,
            refused=users.refused,
        )
