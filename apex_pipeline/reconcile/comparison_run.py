"""One run of reconciliation: changes and a share of the rest, in bounded time.

It can run next to a sync: it sends one request at a time and leaves half of Dataverse's
limits to others. Only adopting needs the writer lock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.audit.events import Author
from apex_pipeline.dataverse.environment import Environment, connect
from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.sender import Sender
from apex_pipeline.dataverse.throttling import Deadline
from apex_pipeline.errors import ApexError, DatabaseError, NoProgressError
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import RunStatus
from apex_pipeline.postgres.store import Store
from apex_pipeline.postgres.table_locks import HeldElsewhere
from apex_pipeline.postgres.writer_lock import (
    WriterLock,
    try_reconciliation_lock,
)
from apex_pipeline.reconcile import findings, progress as kept
from apex_pipeline.reconcile.dataverse_records import (
    LARGEST_PAGE,
    Records,
    RequestBudget,
)
from apex_pipeline.reconcile.passes import Passes
from apex_pipeline.reconcile.progress import PassProgress, ReconciliationRun
from apex_pipeline.reconcile.row_examination import Examination
from apex_pipeline.reconcile.run_report import ReconcileOptions, ReconcileReport
from apex_pipeline.reconcile.work_order import Acts, ComparisonOutcome, WorkOrder
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.lack_of_progress import had_to_wait
from apex_pipeline.sync.pacing_memory import PacingMemory, pacing_key
from apex_pipeline.sync.run_options import utc_now

_RESERVE = 0.5


def run_reconciliation(
    database: Database,
    settings: DataverseSettings,
    token_cache: Path,
    options: ReconcileOptions,
    *,
    dagster_run_id: str | None = None,
    author: Author | None = None,
) -> ReconcileReport:
    """Compare rows with records, as far as time and Dataverse allow.

    Repairing and adopting leave events of the author, by default of this process's user.
    The report holds a failure together with the results before it.

    Raises:
        DatabaseError: Postgres could not be queried for the locks.
    """
    store = Store(database, author)
    database.spend(options.time_budget)
    with ExitStack() as held:
        locks = _locks(database, store, held, adopting=options.adopt)
        if isinstance(locks, str):
            return ReconcileReport(skipped=locks)
        pause = store.ask(
            stored_pacing.open_pause, [pacing_key(settings)], datetime.now(UTC)
        )
        if pause is not None:
            return ReconcileReport(skipped=str(pause))
        run = _ComparisonRun(
            database,
            store,
            settings,
            options,
            locks=locks,
            dagster_run_id=dagster_run_id,
        )
        return database.run(run.carry_out(token_cache))


def _lack_of_progress(
    outcome: ComparisonOutcome, passes: Passes, elapsed: float
) -> NoProgressError | None:
    """Why a run that ran out of time achieved nothing, if it is such a run.

    That Dataverse asked us to wait, at its end or for most of it, is no fault.
    """
    late = outcome.out_of_time
    has_waited = had_to_wait(late, outcome.throttled_seconds, elapsed)
    achieved = (
        outcome.compared,
        outcome.changes,
        outcome.repaired,
        outcome.adopted,
        passes.steps_kept,
    )
    if late is None or has_waited or any(achieved):
        return None
    return NoProgressError(
        f"Nothing was compared, after {outcome.requests} requests: "
        f"{late.__cause__ or late} The next run would begin at the same place. Give it "
        "more time and requests, or mend what Dataverse said."
    )


def _locks(
    database: Database, store: Store, held: ExitStack, *, adopting: bool
) -> list[WriterLock] | str:
    """The locks that the run needs, or why it cannot get them."""
    with database.translated():
        own = try_reconciliation_lock(database)
    if isinstance(own, HeldElsewhere):
        return own.told("another reconciliation is running")
    locks = [held.enter_context(own)]
    if adopting:
        writer = store.writer_lock()
        if isinstance(writer, HeldElsewhere):
            return writer.told(
                "a sync holds the writer lock, which adopting needs; try again"
            )
        locks.append(held.enter_context(writer))
    return locks


class _ComparisonRun:
    """One run that holds its locks."""

    def __init__(
        self,
        database: Database,
        store: Store,
        settings: DataverseSettings,
        options: ReconcileOptions,
        *,
        locks: list[WriterLock],
        dagster_run_id: str | None,
    ) -> None:
        self._database = database
        self._store = store
        self._settings = settings
        self._options = options
        self._locks = locks
        self._dagster_run_id = dagster_run_id
        self._started = utc_now()
        self._pacing = PacingMemory(store, pacing_key(settings), utc_now)

    async def carry_out(self, token_cache: Path) -> ReconcileReport:
        """Connect to Dataverse, compare, and report."""
        run_id = self._database.transact(
            lambda c: kept.start_run(
                c, self._settings.resource, self._started, self._dagster_run_id
            )
        )
        outcome = ComparisonOutcome()
        try:
            progress = self._progress()
            pacer = self._pacing.restored(Pacer(most=1, reserve=_RESERVE))
            async with connect(
                self._settings, token_cache, pacer=pacer, retry=self._options.retry
            ) as environment:
                await self._work(run_id, environment, progress, outcome)
        except ApexError as error:
            outcome.failure = outcome.failure or error
        return await asyncio.to_thread(self._report, run_id, outcome)

    def _progress(self) -> PassProgress:
        progress = self._database.transact(
            lambda c: kept.read_progress(c, self._settings.resource), repeatable=True
        )
        if self._options.full:
            progress.begin_pass(None, is_full=True)
        return progress

    async def _work(
        self,
        run_id: int,
        environment: Environment,
        progress: PassProgress,
        outcome: ComparisonOutcome,
    ) -> None:
        resource, options = self._settings.resource, self._options
        sender = environment.sender
        budget = RequestBudget(options.time_budget, options.requests, sender)
        # A page holds a window plus the second on either side.
        page_size = min(options.rows_per_window + 100, LARGEST_PAGE)
        records = Records(environment.client, budget, page_size)
        examination = Examination(self._database, resource, records)
        passes = Passes(
            resource,
            records,
            examination,
            progress,
            started=self._started,
            rows_per_window=options.rows_per_window,
        )
        work = WorkOrder(
            resource,
            options,
            budget,
            records,
            examination,
            passes,
            self._see_locks,
            Acts.of(self._store.author, resource, options.time_budget),
            outcome,
        )
        try:
            async with self._beating(run_id, sender, budget, outcome):
                await work.carry_out()
        finally:
            outcome.requests = sender.requests
            outcome.throttled_seconds = environment.gate.throttled_seconds
        elapsed = (utc_now() - self._started).total_seconds()
        outcome.failure = outcome.failure or _lack_of_progress(outcome, passes, elapsed)
        await asyncio.to_thread(self._keep_pause, environment.pacer)

    def _see_locks(self) -> None:
        for lock in self._locks:
            lock.ping()

    @asynccontextmanager
    async def _beating(
        self,
        run_id: int,
        sender: Sender,
        deadline: Deadline,
        outcome: ComparisonOutcome,
    ) -> AsyncIterator[None]:
        """Keep the locks alive during the block; stop at once if one is lost."""

        def beat() -> None:
            self._see_locks()
            self._database.transact(
                lambda c: kept.count_requests(c, run_id, sender.requests)
            )

        async def keep_beating() -> None:
            try:
                while True:
                    await asyncio.sleep(self._options.beat_seconds)
                    await asyncio.to_thread(beat)
            except ApexError as error:
                outcome.failure = error
                deadline.cut()

        beating = asyncio.create_task(keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    def _report(self, run_id: int, outcome: ComparisonOutcome) -> ReconcileReport:
        """Count the findings, and write the run to its ledger."""
        resource, counts = self._settings.resource, None
        try:
            counts = self._database.transact(
                lambda c: findings.counts(c, resource), repeatable=True
            )
        except DatabaseError as error:
            outcome.failure = outcome.failure or error
        failure = outcome.failure
        run = ReconciliationRun(
            id=run_id,
            started_at=self._started,
            dagster_run_id=self._dagster_run_id,
            status=RunStatus.SUCCESS if failure is None else RunStatus.FAILURE,
            finished_at=datetime.now(UTC),
            is_complete=outcome.is_complete,
            rows_compared=outcome.compared,
            changes_read=outcome.changes,
            counts=counts,
            repaired=outcome.repaired,
            adopted=outcome.adopted,
            requests=outcome.requests,
            throttled_seconds=outcome.throttled_seconds,
            note=" ".join(outcome.notes) or None,
            error=None if failure is None else str(failure),
        )
        try:
            self._database.transact(
                lambda c: kept.finish_run(c, run_id, run), repeatable=True
            )
        except DatabaseError as error:
            failure = failure or error
        return ReconcileReport(run, failure=failure)

    def _keep_pause(self, pacer: Pacer) -> None:
        """Store a pending Retry-After for the sync, but no other pacing state.

        A running sync stores its own.
        """
        state = self._pacing.state(pacer)
        if state.retry_at is not None:
            self._pacing.save(state)
