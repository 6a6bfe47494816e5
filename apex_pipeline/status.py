"""What an operator asks first: is it keeping up, and if not, why."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apex_pipeline.ledger import RunStatus, token_hit_rate_pct
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.store import Store
from apex_pipeline.sync import pacing_key

_RUNS_LOOKED_AT = 300
_PERIOD = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the sync at one instant; times are UTC.

    Attributes:
        pending: Rows that are due and not in Dataverse.
        oldest_pending_seconds: Age of the oldest of them.
        quarantined: Rows put aside because Dataverse cannot take them, to be tried
            again.
        dropped: Rows that a person decided never to send.
        last_success_at: End of the last run that did not fail, within the last runs.
        last_failure: What the last run failed with; None if it did not.
        delivered_24h: Rows delivered in the last 24 hours.
        throttled_seconds_24h: For how long Dataverse kept us waiting in that time.
        token_hit_rate_pct: Requests of that time that needed no new token, in percent.
        throttled_until: When Dataverse takes requests again, if it said so.
        comparison_lap_seconds: How long the comparison of all raw rows with the rollups
            takes; within that a row that was changed is in them. None before the first.
    """

    pending: int
    oldest_pending_seconds: float | None
    quarantined: int
    dropped: int
    last_success_at: datetime | None
    last_failure: str | None
    delivered_24h: int
    throttled_seconds_24h: float
    token_hit_rate_pct: float | None
    throttled_until: datetime | None
    comparison_lap_seconds: float | None


def read_status(store: Store, settings: DataverseSettings) -> Status:
    """Ask Postgres; Dataverse is not asked.

    Raises:
        DatabaseError: Postgres did not answer, or lacks our tables.
    """
    now = datetime.now(UTC)
    runs = store.last_runs(_RUNS_LOOKED_AT)
    recent = [run for run in runs if run.started_at and run.started_at >= now - _PERIOD]
    hits = sum(run.token_cache_hits for run in recent)
    misses = sum(run.token_cache_misses for run in recent)
    pending = store.pending_summary()
    oldest = pending.oldest_created_at
    compared = store.comparison()
    retry_at = store.retry_at(pacing_key(settings))
    finished = [run for run in runs if run.status is not RunStatus.RUNNING]
    return Status(
        pending=pending.count,
        oldest_pending_seconds=(now - oldest).total_seconds() if oldest else None,
        quarantined=store.quarantine_count(),
        dropped=store.dropped_count(),
        last_success_at=next(
            (run.finished_at for run in runs if run.status is RunStatus.SUCCESS), None
        ),
        last_failure=finished[0].error if finished else None,
        delivered_24h=sum(run.delivered for run in recent),
        throttled_seconds_24h=sum(run.throttled_seconds for run in recent),
        token_hit_rate_pct=token_hit_rate_pct(hits, misses),
        throttled_until=retry_at if retry_at and retry_at > now else None,
        comparison_lap_seconds=compared.seconds(now) if compared else None,
    )
