"""What a run of the sync may do: how much, how long, and at which sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import REQUEST_TIMEOUT_SECONDS
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.postgres.resent_rows import Slice
from apex_pipeline.sync.request_delivery import DataverseSink, MetricSink


def utc_now() -> datetime:
    """The clock of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How many rows to read and send at a time.

    Attributes:
        page_size: Rows per page read from Postgres.
        rows_per_request: Rows in one `UpsertMultiple`; None to find the best size.
        limit: The most rows to read.
        dry_run: Read and validate; send nothing and mark nothing.
    """

    page_size: int = 1000
    rows_per_request: int | None = None
    limit: int | None = None
    dry_run: bool = False


DEFAULT_TIME_BUDGET_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Options of one run.

    Attributes:
        time_budget: Seconds after which the run starts no new work. Less than the five
            minutes between two ticks, so runs never pile up.
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
    make_sink: Callable[[DataverseClient, RetryPolicy], MetricSink] = DataverseSink
