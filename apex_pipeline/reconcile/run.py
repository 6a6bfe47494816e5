"""One run of the comparison: what changed and a share of the rest, in bounded time.

It goes beside a running sync: one request at a time, and half of what Dataverse allows
is left to others. Only adopting needs the writer lock.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from apex_pipeline.database import Database
from apex_pipeline.dataverse.connect import Environment, connect
from apex_pipeline.dataverse.gate import Deadline
from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.sender import RetryPolicy, Sender
from apex_pipeline.errors import ApexError, DatabaseError, OutOfTimeError
from apex_pipeline.kept_pacing import PacingState, restore_pacing, save_pacing
from apex_pipeline.ledger import RunStatus, record_adoption
from apex_pipeline.reconcile import findings, progress as kept
from apex_pipeline.reconcile.adoption import adopt
from apex_pipeline.reconcile.examination import Examination
from apex_pipeline.reconcile.findings import MOST_KEPT, Kind
from apex_pipeline.reconcile.passes import (
    ROWS_PER_WINDOW,
    FindingsFullError,
    Passes,
)
from apex_pipeline.reconcile.progress import Progress, ReconciliationRun
from apex_pipeline.reconcile.records import Budget, Records
from apex_pipeline.reconcile.repair import repair
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.store import Store
from apex_pipeline.sync import pacing_key
from apex_pipeline.writer_lock import WriterLock, try_reconciliation_lock

DEFAULT_TIME_BUDGET_SECONDS = 900.0
DEFAULT_REQUESTS = 5000
_RESERVE = 0.5


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What one run may do.

    Attributes:
        repair: Clear the marks of rows whose record is missing or differs.
        adopt: Let records of another flow stand for their rows.
        days: Compare the rows and records of so many days, and nothing else.
        full: Begin anew, and compare all rows.
        time_budget: Seconds after which nothing more is begun.
        requests: Requests after which nothing more is begun.
    """

    repair: bool = False
    adopt: bool = False
    days: int | None = None
    full: bool = False
    time_budget: float = DEFAULT_TIME_BUDGET_SECONDS
    requests: int = DEFAULT_REQUESTS
    rows_per_window: int = ROWS_PER_WINDOW
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    beat_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What one run did; how rows and records stand after it, is told by `standing`.

    Attributes:
        run: As it is kept; None if nothing was attempted.
        skipped: Why nothing was attempted, if so.
        failure: What a person has to mend, if the run failed.
    """

    run: ReconciliationRun | None = None
    skipped: str | None = None
    failure: ApexError | None = None


@dataclass(slots=True)
class _Outcome:
    """What the run has come to so far."""

    is_complete: bool = False
    repaired: int = 0
    adopted: int = 0
    notes: list[str] = field(default_factory=list)
    failure: ApexError | None = None


def run_reconciliation(
    database: Database,
    settings: DataverseSettings,
    token_cache: Path,
    options: ReconcileOptions,
    *,
    dagster_run_id: str | None = None,
) -> ReconcileReport:
    """Compare rows with records, as far as time and Dataverse allow.

    A failure is part of the report, beside what was achieved before it.

    Raises:
        DatabaseError: Postgres could not be asked for the locks.
    """
    store = Store(database)
    with ExitStack() as held:
        locks = _locks(database, store, held, adopting=options.adopt)
        if isinstance(locks, str):
            return ReconcileReport(skipped=locks)
        retry_at = store.retry_at(pacing_key(settings))
        if retry_at is not None and retry_at > datetime.now(UTC):
            reason = f"Dataverse asked for no requests before {retry_at:%H:%M:%S} UTC"
            return ReconcileReport(skipped=reason)
        run = _Run(
            database,
            store,
            settings,
            options,
            locks=locks,
            dagster_run_id=dagster_run_id,
        )
        return asyncio.run(run.carry_out(token_cache))


def _locks(
    database: Database, store: Store, held: ExitStack, *, adopting: bool
) -> list[WriterLock] | str:
    """The locks that the run needs, or why it cannot have them."""
    with database.translated():
        own = try_reconciliation_lock(database)
    if own is None:
        return "another reconciliation is under way"
    locks = [held.enter_context(own)]
    if adopting:
        writer = store.writer_lock()
        if writer is None:
            return "a sync holds the writer lock, which adopting needs; try again"
        locks.append(held.enter_context(writer))
    return locks


class _Run:
    """The state of one run that holds its locks."""

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
        self._started = datetime.now(UTC)
        self._outcome = _Outcome()

    async def carry_out(self, token_cache: Path) -> ReconcileReport:
        """Open both ends, compare, and tell."""
        resource, options = self._settings.resource, self._options
        ask = self._database.transact
        run_id = ask(
            lambda c: kept.start_run(c, resource, self._started, self._dagster_run_id)
        )
        progress = ask(lambda c: kept.read_progress(c, resource), repeatable=True)
        pacer = restore_pacing(
            self._store,
            pacing_key(self._settings),
            Pacer(most=1, reserve=_RESERVE),
        )
        async with connect(
            self._settings, token_cache, pacer=pacer, retry=options.retry
        ) as environment:
            sender = environment.sender
            budget = Budget(options.time_budget, options.requests, sender)
            records = Records(environment.client, budget)
            examination = Examination(self._database, resource, records)
            passes = Passes(
                resource,
                records,
                examination,
                progress,
                started=self._started,
                rows_per_window=options.rows_per_window,
            )
            async with self._beating(run_id, sender, budget):
                await self._attempt(passes, examination, records, progress)
            if budget.is_used_up and not self._outcome.is_complete:
                self._outcome.notes.append("The requests given are used up.")
            return await asyncio.to_thread(
                self._report, run_id, environment, examination, passes
            )

    async def _attempt(
        self,
        passes: Passes,
        examination: Examination,
        records: Records,
        progress: Progress,
    ) -> None:
        outcome = self._outcome
        try:
            await self._compare(passes, examination, progress)
            if self._options.adopt:
                await self._adopt(examination, records, progress)
            if self._options.repair:
                outcome.repaired += await repair(examination, self._settings.resource)
            outcome.is_complete = True
        except OutOfTimeError as error:
            outcome.notes.append(f"{error} The next run goes on from here.")
        except FindingsFullError:
            outcome.notes.append(
                f"{MOST_KEPT} rows are wrong, and no more are kept. Run `apex "
                "reconcile --repair`, which then goes on from here."
            )
        except ApexError as error:
            outcome.failure = outcome.failure or error

    async def _compare(
        self, passes: Passes, examination: Examination, progress: Progress
    ) -> None:
        """All steps; with repair, as often as it takes to make room for findings."""
        if self._options.full:
            progress.begin_pass(None, is_full=True)
        while True:
            try:
                await self._steps(passes)
            except FindingsFullError:
                resource = self._settings.resource
                repaired = (
                    await repair(examination, resource) if self._options.repair else 0
                )
                self._outcome.repaired += repaired
                if not repaired:
                    raise
            else:
                return

    async def _steps(self, passes: Passes) -> None:
        await passes.look_again()
        if self._options.days is not None:
            await passes.recent_days(self._options.days)
            return
        await passes.changes_in_dataverse()
        await passes.marked_since()
        await passes.all_there_is()

    async def _adopt(
        self, examination: Examination, records: Records, progress: Progress
    ) -> None:
        """Adopt, and let the sync go if nothing is left that it would make twice."""
        resource = self._settings.resource
        if progress.last_pass_finished_at is None:
            self._outcome.notes.append(
                "Nothing was adopted: not all records have been compared yet."
            )
            return
        self._outcome.adopted = await adopt(
            examination, records, resource, self._see_locks
        )
        counts = await examination.ask(lambda c: findings.counts(c, resource))
        if counts[Kind.AMBIGUOUS] or counts[Kind.OTHER_FLOW]:
            self._outcome.notes.append(
                "The cutover is not settled: of one row there are several records, or "
                "several rows fit one record. Delete the superfluous ones in Dataverse, "
                "as a person who may, and run `apex reconcile --adopt` again."
            )
            return
        now = datetime.now(UTC)
        await examination.ask(lambda c: record_adoption(c, resource, now))

    def _see_locks(self) -> None:
        for lock in self._locks:
            lock.ping()

    @asynccontextmanager
    async def _beating(
        self, run_id: int, sender: Sender, deadline: Deadline
    ) -> AsyncIterator[None]:
        """Keep the locks alive meanwhile, and stop at once if one is lost."""

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
                self._outcome.failure = error
                deadline.cut()

        beating = asyncio.create_task(keep_beating())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    def _report(
        self,
        run_id: int,
        environment: Environment,
        examination: Examination,
        passes: Passes,
    ) -> ReconcileReport:
        """Count what is wrong now, and enter the run into its ledger."""
        outcome, resource = self._outcome, self._settings.resource
        counts = None
        try:
            self._keep_pause(environment.pacer)
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
            rows_compared=examination.compared,
            changes_read=passes.changes,
            counts=counts,
            repaired=outcome.repaired,
            adopted=outcome.adopted,
            requests=environment.sender.requests,
            throttled_seconds=environment.gate.throttled_seconds,
            note=" ".join([*outcome.notes, *passes.notes]) or None,
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
        """Leave an open Retry-After to the sync; what a running one keeps is its own."""
        state = PacingState.of(pacer)
        if state.retry_at is not None:
            save_pacing(self._store, pacing_key(self._settings), state)
