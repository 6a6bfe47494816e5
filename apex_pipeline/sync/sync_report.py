"""The report of one run, and its row in the ledger."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from apex_pipeline.errors import ApexError, DatabaseError
from apex_pipeline.postgres.resent_rows import SliceSummary
from apex_pipeline.postgres.run_ledger import RunFigures, RunRecord, RunStatus
from apex_pipeline.postgres.store import Store
from apex_pipeline.sync.application_users import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport(RunFigures):
    """Results of one run: the figures that the ledger keeps, and what only this process knows.

    Attributes:
        skipped: Why nothing was attempted, if so.
        failure: What an operator has to fix, if the run failed.
        preview: The last records delivered, as JSON objects.
        part: The rows of the slice before the run; None if there was no slice.
        part_left: Rows of the slice that are still to be sent.
        rows_per_request: First request size of the next run; None if nothing was sent.
        refused: Application users that were left out while others delivered.
    """

    started_at: datetime
    finished_at: datetime
    skipped: str | None = None
    failure: ApexError | None = None
    preview: tuple[str, ...] = ()
    part: SliceSummary | None = None
    part_left: int | None = None
    rows_per_request: int | None = None
    refused: tuple[Refused, ...] = ()


def skipped(at: datetime, reason: str, retry_at: datetime | None = None) -> SyncReport:
    """The report of a run that attempted nothing."""
    return SyncReport(started_at=at, finished_at=at, skipped=reason, retry_at=retry_at)


def recorded(store: Store, run_id: int, report: SyncReport) -> SyncReport:
    """Write the report to the ledger; return it, with the failure to do so if any.

    A process that dies before this leaves its run open; the next run closes it.
    """
    failure = report.failure
    record = RunRecord(
        **report.figures,
        status=RunStatus.SUCCESS if failure is None else RunStatus.FAILURE,
        finished_at=report.finished_at,
        error=None if failure is None else str(failure),
    )
    try:
        store.finish_run(run_id, record)
    except DatabaseError as error:
        return report if failure else dataclasses.replace(report, failure=error)
    return report
