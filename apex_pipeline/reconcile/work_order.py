"""The order in which a run compares, adopts and repairs, and its outcome."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Connection

from apex_pipeline.audit.batches import BatchedAct
from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.events import Action, Author, Event
from apex_pipeline.errors import ApexError, OutOfTimeError
from apex_pipeline.postgres.dataverse_targets import record_adoption
from apex_pipeline.reconcile import findings
from apex_pipeline.reconcile.adoption import adopt
from apex_pipeline.reconcile.dataverse_records import Records, RequestBudget
from apex_pipeline.reconcile.findings import MOST_KEPT, FindingKind
from apex_pipeline.reconcile.passes import FindingsFullError, Passes
from apex_pipeline.reconcile.repair import repair
from apex_pipeline.reconcile.row_examination import Examination
from apex_pipeline.reconcile.run_report import ReconcileOptions

# From the end of a run's time to its last answer and its event.
_SECONDS_TO_END = 600.0


@dataclass(slots=True)
class ComparisonOutcome:
    """The results of a run so far."""

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
class Acts:
    """The acts of a run, each with one event."""

    adopting: BatchedAct
    repairing: BatchedAct

    @classmethod
    def of(cls, author: Author, resource: str, time_budget: float) -> Self:
        """The acts of an author in an environment, in a run of so many seconds."""
        subject = {"environment": resource}
        seconds = time_budget + _SECONDS_TO_END
        adopting, repairing = (
            BatchedAct(Event(action, author, subject), seconds=seconds)
            for action in (Action.ADOPT, Action.REPAIR)
        )
        return cls(adopting, repairing)


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """One run's work in a connected environment.

    Attributes:
        see_locks: Raises an error if a lock that the run needs is lost.
        acts: What the audit trail will say.
    """

    resource: str
    options: ReconcileOptions
    budget: RequestBudget
    records: Records
    examination: Examination
    passes: Passes
    see_locks: Callable[[], None]
    acts: Acts
    outcome: ComparisonOutcome

    async def carry_out(self) -> None:
        """Work as far as the budget allows, and collect the results in the outcome.

        Raises:
            ApexError: The work cannot continue; the outcome holds the results so far.
        """
        try:
            await self._carry_out()
        except ApexError as error:
            await self._end_acts(error)
            raise
        await self._end_acts(self.outcome.failure)

    async def _carry_out(self) -> None:
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
                reason = "The request budget is used up."
            outcome.notes.append(f"{reason} The next run continues from here.")
        except FindingsFullError:
            outcome.notes.append(
                f"{MOST_KEPT} rows have findings, and no more can be stored. Run `apex "
                "reconcile --repair`, which then continues from here."
            )
        finally:
            outcome.compared = self.examination.compared
            outcome.changes = self.passes.changes
            outcome.notes += self.passes.notes

    async def _compare(self) -> None:
        """Run all steps; with repair, again whenever it made room for findings."""
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
        act = self.acts.repairing
        repaired = await repair(self.examination, self.resource, act)
        self.outcome.repaired += repaired
        return repaired

    async def _adopt(self) -> None:
        """Adopt records, and allow the sync if it would not duplicate any row."""
        act = self.acts.adopting
        self.outcome.adopted = await adopt(
            self.examination, self.records, self.resource, self.see_locks, act
        )
        counts = await self.examination.ask(lambda c: findings.counts(c, self.resource))
        if counts[FindingKind.AMBIGUOUS] or counts[FindingKind.OTHER_FLOW]:
            self.outcome.notes.append(
                "The cutover is not finished: several records match one row, or several "
                "rows match one record. Delete the extra records in Dataverse, with a "
                "user who may, and run `apex reconcile --adopt` again."
            )
            return
        now = datetime.now(UTC)

        def allow(connection: Connection) -> None:
            record_adoption(connection, self.resource, now)
            allowed: dict[str, Json] = {"delivery_allowed": True}
            act.end_or_append(connection, Action.ALLOW_DELIVERY, allowed)

        await self.examination.ask(allow)

    async def _end_acts(self, error: ApexError | None) -> None:
        if not (self.options.adopt or self.options.repair):
            return

        def end(connection: Connection) -> None:
            for act in (self.acts.adopting, self.acts.repairing):
                act.end(connection, error=error)

        await self.examination.ask(end)
