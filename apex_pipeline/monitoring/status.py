"""What an operator asks first: is it keeping up, and if not, why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from apex_pipeline.monitoring.facts import (
    LedgerFacts,
    read_audit_facts,
    read_facts,
    read_ledger_facts,
)
from apex_pipeline.postgres.comparison_progress import progress_in
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import DataverseSettings


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the sync at one instant; times are UTC.

    Attributes:
        pending: Rows that are due and not in Dataverse.
        oldest_pending_seconds: Age of the oldest of them.
        quarantined: Rows put aside because Dataverse cannot take them, to be tried
            again.
        dropped: Rows that are never to be sent.
        last_success_at: End of the last run that did not fail.
        last_failure: What the last run failed with; None if it did not.
        delivered_24h: Rows delivered in the last 24 hours.
        throttled_seconds_24h: For how long Dataverse kept us waiting in that time.
        token_hit_rate_pct: Requests of that time that needed no new token, in percent.
        throttled_until: When Dataverse takes requests again, if it said so.
        throttled_by: Why it asked for that, in words.
        waiting_seconds: For how long rows have been waiting. Less than the age of the
            oldest where that came late, with an old time.
        is_overdue: Whether that is longer than a sync that keeps up takes.
        comparison_lap_seconds: How long the comparison of all raw rows with the rollups
            takes; within that a row that was changed is in them. None before the first.
        audit_unbroken: Whether the last verification of the audit trail found nothing
            wrong; None before the first.
        audit_anchor_seconds: How long ago the trail's head was anchored; None if it
            never was.
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
    throttled_by: str | None
    waiting_seconds: float | None
    is_overdue: bool
    comparison_lap_seconds: float | None
    audit_unbroken: bool | None = None
    audit_anchor_seconds: float | None = None


def read_status(database: Database, settings: DataverseSettings) -> Status:
    """Ask Postgres; Dataverse is not asked.

    Raises:
        DatabaseError: Postgres did not answer, or lacks our tables.
    """
    now = datetime.now(UTC)
    facts = database.ask(read_facts, now, settings)
    oldest, since = facts.pending.oldest_created_at, facts.waiting_since()
    compared = database.ask(progress_in)
    audit = database.ask(read_audit_facts)
    return Status(
        pending=facts.pending.count,
        oldest_pending_seconds=(now - oldest).total_seconds() if oldest else None,
        quarantined=facts.quarantined_count,
        dropped=facts.dropped,
        throttled_until=facts.throttled_until,
        throttled_by=facts.throttled_by,
        waiting_seconds=(now - since).total_seconds() if since else None,
        is_overdue=facts.is_overdue(),
        comparison_lap_seconds=compared.seconds(now) if compared else None,
        audit_unbroken=audit.is_unbroken,
        audit_anchor_seconds=audit.anchor_age_seconds(now),
        **_of_ledger(facts),
    )


def read_ledger(database: Database, now: datetime) -> dict[str, Any]:
    """The fields of `Status` that come from the ledger alone.

    They can be read while another session locks `campaign_metrics`.

    Raises:
        DatabaseError: Postgres did not answer, or lacks our tables.
    """
    return _of_ledger(database.ask(read_ledger_facts, now))


def _of_ledger(facts: LedgerFacts) -> dict[str, Any]:
    return {
        "last_success_at": facts.last_success_at,
        "last_failure": facts.last_error,
        "delivered_24h": facts.day.delivered,
        "throttled_seconds_24h": facts.day.throttled_seconds,
        "token_hit_rate_pct": facts.day.token_hit_rate_pct,
    }
