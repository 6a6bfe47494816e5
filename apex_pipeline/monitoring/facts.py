"""The figures of the sync that several places show, each defined once.

Status, doctor, watch, panel, report and `/metrics` all read these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.audit.anchors import last_anchored_at
from apex_pipeline.audit.verification import Verification, last_verification
from apex_pipeline.postgres import (
    empty_looks,
    pending_rows as pending,
    run_ledger,
    stored_pacing,
)
from apex_pipeline.postgres.pending_rows import PendingSummary
from apex_pipeline.postgres.run_ledger import RunRecord, RunStatus, Totals
from apex_pipeline.quarantine import decisions
from apex_pipeline.settings import DataverseSettings
from apex_pipeline.sync.pacing_memory import pacing_keys as keys_of

OVERDUE = timedelta(minutes=10)
"""Twice the sync's interval: rows that wait longer mean that it does not keep up."""

LATE = timedelta(minutes=15)
"""Three ticks without a success while rows wait; one failure alone is no alarm."""

PERIOD = timedelta(hours=24)

CREDENTIAL_WARNED_DAYS = (30, 14, 7, 1)
"""Days before a credential's end on which a warning is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """What the run ledger alone says; times are aware.

    Attributes:
        as_of: When they were read.
        runs: The newest first: the last ones, the last success, and the last run that
            left nothing.
        day: What the runs of the last 24 hours did.
    """

    as_of: datetime
    runs: Sequence[RunRecord]
    day: Totals

    @property
    def last_success_at(self) -> datetime | None:
        """End of the last run that succeeded."""
        successes = (r for r in self.runs if r.status is RunStatus.SUCCESS)
        return next((run.finished_at for run in successes), None)

    @property
    def last_error(self) -> str | None:
        """Error of the last run that ended; None if it succeeded."""
        return self.last_ended.error if self.last_ended else None

    @property
    def last_ended(self) -> RunRecord | None:
        ended = (run for run in self.runs if run.status is not RunStatus.RUNNING)
        return next(ended, None)

    @property
    def emptied_at(self) -> datetime | None:
        """When a run last left nothing pending."""
        emptied = (
            run.finished_at
            for run in self.runs
            if run.status is RunStatus.SUCCESS and run.remaining == 0
        )
        return next(emptied, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(LedgerFacts):
    """The state of the sync at one instant; times are aware.

    Attributes:
        quarantined: Quarantined rows that Dataverse lacks, without dropped ones, by code.
        dropped: Rows that an operator decided never to send.
        throttled_until: When Dataverse takes requests again, if that is yet to come.
        throttled_by: Why it asked for that, in words.
        left_out: Application users that the last run left out, and why, by budget.
        found_empty_at: When the schedule or the health watch last found nothing pending.
    """

    pending: PendingSummary
    quarantined: Mapping[str, int]
    dropped: int
    throttled_until: datetime | None = None
    throttled_by: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    found_empty_at: datetime | None = None

    @property
    def quarantined_count(self) -> int:
        """Rows in quarantine, whatever the reason."""
        return sum(self.quarantined.values())

    def waiting_since(self, empty_at: datetime | None = None) -> datetime | None:
        """Since when rows have been waiting; None if none are, or it is not known.

        Rows that came late, with an old time, have waited since nothing was pending. So
        has an undated row of an adopted table. A rejected row waits since it is due.

        Args:
            empty_at: When nothing was pending, if the caller has seen it; or from when on
                it counts how long rows wait.
        """
        if not self.pending.count:
            return None
        emptied = (self.emptied_at, self.found_empty_at, empty_at)
        known = (self.pending.oldest_due_at, *emptied)
        return max((each for each in known if each is not None), default=None)

    def is_overdue(self, empty_at: datetime | None = None) -> bool:
        """Whether rows have been waiting for too long."""
        since = self.waiting_since(empty_at)
        return since is not None and self.as_of - since > OVERDUE

    def lacks_success(self, empty_at: datetime | None = None) -> bool:
        """Whether no run has succeeded for too long while rows have been waiting."""
        since = self.waiting_since(empty_at)
        if since is None:
            return False
        return self.as_of - max(since, self.last_success_at or since) > LATE


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """The state of the audit trail; times are aware.

    Attributes:
        anchored_at: When its head was anchored last; None if it never was.
        verified: The last verification; None if there was none.
    """

    anchored_at: datetime | None = None
    verified: Verification | None = None

    def anchor_age_seconds(self, now: datetime) -> float | None:
        """How long ago the last anchor was made."""
        return (now - self.anchored_at).total_seconds() if self.anchored_at else None

    @property
    def is_unbroken(self) -> bool | None:
        """Whether the last verification found nothing; None without one."""
        return None if self.verified is None else self.verified.is_unbroken


def read_audit_facts(connection: Connection) -> AuditFacts:
    """Ask Postgres."""
    return AuditFacts(last_anchored_at(connection), last_verification(connection))


def read_ledger_facts(connection: Connection, now: datetime) -> LedgerFacts:
    """Ask the ledger, which nothing but the pipeline locks.

    Args:
        connection: In a transaction.
        now: The present (aware).
    """
    return LedgerFacts(
        as_of=now,
        runs=run_ledger.telling_runs(connection),
        day=run_ledger.totals(connection, since=now - PERIOD),
    )


def read_facts(
    connection: Connection, now: datetime, dataverse: DataverseSettings | None = None
) -> Facts:
    """Ask Postgres.

    Args:
        connection: In a transaction.
        now: The present (aware).
        dataverse: Whose limits; None where neither they nor the users matter.
    """
    pacing_keys = [] if dataverse is None else keys_of(dataverse)
    pause = stored_pacing.open_pause(connection, pacing_keys, now)
    return Facts(
        as_of=now,
        pending=pending.summary(connection),
        quarantined=decisions.count_by_code(connection),
        dropped=decisions.count(connection)[1],
        runs=run_ledger.telling_runs(connection),
        day=run_ledger.totals(connection, since=now - PERIOD),
        throttled_until=pause.until if pause else None,
        throttled_by=(pause.reason or None) if pause else None,
        left_out=_left_out(connection, pacing_keys),
        found_empty_at=empty_looks.last_empty_at(connection),
    )


def _left_out(connection: Connection, pacing_keys: Sequence[str]) -> dict[str, str]:
    if len(pacing_keys) < 2:
        return {}
    kept = {key: stored_pacing.pacing(connection, key) or {} for key in pacing_keys}
    refusals = {key: str(state.get("refusal") or "") for key, state in kept.items()}
    return {key: refusal for key, refusal in refusals.items() if refusal}
