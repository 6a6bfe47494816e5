"""The options and the report of one run."""

from dataclasses import dataclass, field

from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.errors import ApexError
from apex_pipeline.reconcile.passes import ROWS_PER_WINDOW
from apex_pipeline.reconcile.progress import ReconciliationRun

DEFAULT_TIME_BUDGET_SECONDS = 900.0
DEFAULT_REQUESTS = 5000


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """Options of one run.

    Attributes:
        repair: Remove the marks of rows whose record is missing or differs.
        adopt: Match records of another flow to their rows.
        days: Compare only the rows and records of this many last days.
        full: Start over and compare all rows.
        time_budget: Seconds after which the run starts no new work.
        requests: Requests after which the run starts no new work.
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
    """The results of one run; `agreement` reads how rows and records compare after it.

    Attributes:
        run: The stored run; None if it attempted nothing.
        skipped: Why the run attempted nothing, if it was skipped.
        failure: What an operator has to fix, if the run failed.
    """

    run: ReconciliationRun | None = None
    skipped: str | None = None
    failure: ApexError | None = None
