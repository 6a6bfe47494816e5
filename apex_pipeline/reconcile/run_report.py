"""What a run may do, and what it reports."""

from dataclasses import dataclass, field

from apex_pipeline.dataverse.sender import RetryPolicy
from apex_pipeline.errors import ApexError
from apex_pipeline.reconcile.passes import ROWS_PER_WINDOW
from apex_pipeline.reconcile.progress import ReconciliationRun

DEFAULT_TIME_BUDGET_SECONDS = 900.0
DEFAULT_REQUESTS = 5000


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
