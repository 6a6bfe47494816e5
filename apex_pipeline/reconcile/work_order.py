"""The order in which a run compares, adopts and repairs, and what it comes to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from apex_pipeline.errors import ApexError, OutOfTimeError
from apex_pipeline.postgres.run_ledger import record_adoption
from apex_pipeline.reconcile import findings
from apex_pipeline.reconcile.adoption import adopt
from apex_pipeline.reconcile.dataverse_records import Budget, Records
from apex_pipeline.reconcile.findings import MOST_KEPT, Kind
from apex_pipeline.reconcile.passes import FindingsFullError, Passes
from apex_pipeline.reconcile.repair import repair
from apex_pipeline.reconcile.row_examination import Examination
from apex_pipeline.reconcile.run_report import ReconcileOptions


@dataclass(slots=True)
class Outcome:
    """What a run has come to so far."""

    is_complete: bool = False
    compared: int = 0
    changes: int = 0
    repaired: int = 0
    adopted: int = 0
    requests: int = 0
    throttled_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    failure: ApexError | None = None
    out_of_time: OutOfTimeError | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """One run's work in an environment that is open.

    Attributes:
        see_locks: Fails if a lock that the run needs is lost.
    """

    resource: str
    options: ReconcileOptions
    budget: Budget
    records: Records
    examination: Examination
    passes: Passes
    see_locks: Callable[[], None]
    outcome: Outcome

    async def carry_out(self) -> None:
        """Do it as far as the budget goes; what came of it is in the outcome.

        Raises:
            ApexError: It cannot go on; what was achieved is in the outcome.
        """
        outcome = self.outcome
        try:
            await self._compare()
            if self.options.adopt:
                await self._adopt()
            if self.options.repair:
                await self._repair()
            outcome.is_complete = True
        except OutOfTimeError as error:
            outcome.out_of_time = error
            reason = error.message
            if self.budget.is_used_up:
                reason = "The requests given are used up."
            outcome.notes.append(f"{reason} The next run goes on from here.")
        except FindingsFullError:
            outcome.notes.append(
                f"{MOST_KEPT} rows are wrong, and no more are kept. Run `apex "
                "reconcile --repair`, which then goes on from here."
            )
        finally:
            outcome.compared = self.examination.compared
            outcome.changes = self.passes.changes
            outcome.notes += self.passes.notes

    async def _compare(self) -> None:
        """All steps; with repair, as often as it takes to make room for findings."""
        while True:
            try:
                await self._steps()
            except FindingsFullError:
                if not self.options.repair or not await self._repair():
                    raise
            else:
                return

    async def _steps(self) -> None:
        await self.passes.look_again()
        if self.options.days is not None:
            await self.passes.recent_days(self.options.days)
            return
        await self.passes.changes_in_dataverse()
        await self.passes.marked_since()
        await self.passes.all_there_is()

    async def _repair(self) -> int:
        repaired = await repair(self.examination, self.resource)
        self.outcome.repaired += repaired
        return repaired

    async def _adopt(self) -> None:
        """Adopt, and let the sync go if nothing is left that it would make twice."""
        self.outcome.adopted = await adopt(
            self.examination, self.records, self.resource, self.see_locks
        )
        counts = await self.examination.ask(lambda c: findings.counts(c, self.resource))
        if counts[Kind.AMBIGUOUS] or counts[Kind.OTHER_FLOW]:
            self.outcome.notes.append(
                "The cutover is not settled: of one row there are several records, or "
                "several rows fit one record. Delete the superfluous ones in Dataverse, "
                "as a person who may, and run `apex reconcile --adopt` again."
            )
            return
        now = datetime.now(UTC)
        await self.examination.ask(lambda c: record_adoption(c, self.resource, now))
