"""Summarize the stored findings: how far rows and records agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile import findings, progress
from apex_pipeline.reconcile.findings import Finding, FindingKind

SMALLEST_ENTITLEMENT = 25_000
"""Requests per 24 hours for all applications of a tenant that has only Power Apps
licences (Microsoft Learn, "Requests limits and allocations"); other tenants have 500 000
and more."""

EXAMPLES = 20
"""How many findings of each kind are shown."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far rows and records agreed when they were last compared.

    Attributes:
        counts: Findings by kind; a kind that is stored only up to a limit stops there.
        examples: The oldest findings of each kind.
        last_pass_finished_at: When a pass over all rows last finished, if ever.
        rows_under_way: Rows that the current pass has compared so far.
        requests_24h: Requests to Dataverse by reconciliation in 24 hours.
        sync_requests_24h: Requests by the sync; each record sent counts as one.
    """

    counts: Mapping[FindingKind, int]
    examples: tuple[Finding, ...]
    last_pass_finished_at: datetime | None
    rows_under_way: int
    requests_24h: int
    sync_requests_24h: int

    @property
    def is_settled(self) -> bool:
        """Whether there are no findings."""
        return not any(self.counts.values())

    @property
    def entitlement_pct(self) -> float:
        """Requests of reconciliation and sync, in percent of the smallest entitlement."""
        used = self.requests_24h + self.sync_requests_24h
        return 100 * used / SMALLEST_ENTITLEMENT


def read_agreement(
    database: Database, resource: str, *, most: int = EXAMPLES
) -> Agreement:
    """Read the stored findings of an environment, without asking Dataverse.

    Raises:
        DatabaseError: Postgres does not answer, or lacks the pipeline's tables.
    """

    def read(connection: Connection) -> Agreement:
        since = datetime.now(UTC) - timedelta(hours=24)
        passed = progress.read_progress(connection, resource)
        return Agreement(
            findings.counts(connection, resource),
            tuple(findings.examples(connection, resource, most)),
            passed.last_pass_finished_at,
            passed.pass_rows,
            *progress.requests_of_a_day(connection, since),
        )

    return database.transact(read, repeatable=True)
