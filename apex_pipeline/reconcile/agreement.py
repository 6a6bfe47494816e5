"""How rows and records stand, by what is kept; for whoever shows or reports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile import findings, progress
from apex_pipeline.reconcile.findings import Finding, Kind

SMALLEST_ENTITLEMENT = 25_000
"""Requests of 24 hours that a tenant with Power Apps licences alone has for all its
applications together (Microsoft Learn, "Requests limits and allocations"); others have
500 000 and more."""

EXAMPLES = 20
"""Findings of each kind that are shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How rows and records stood when it was last looked at.

    Attributes:
        counts: What is wrong, by kind; of a kind that is kept up to a bound, so many.
        examples: The oldest findings of each kind.
        last_pass_finished_at: When a pass over all rows came to its end, if ever.
        rows_under_way: Rows that the pass under way has compared.
        requests_24h: Requests to Dataverse in 24 hours, of comparing alone.
        sync_requests_24h: Those of syncing; a record sent counts as one.
    """

    counts: Mapping[Kind, int]
    examples: tuple[Finding, ...]
    last_pass_finished_at: datetime | None
    rows_under_way: int
    requests_24h: int
    sync_requests_24h: int

    @property
    def is_settled(self) -> bool:
        """Whether nothing is known to be wrong."""
        return not any(self.counts.values())

    @property
    def entitlement_pct(self) -> float:
        """Requests of comparing and syncing, of the smallest entitlement, in percent."""
        used = self.requests_24h + self.sync_requests_24h
        return 100 * used / SMALLEST_ENTITLEMENT


def read_standing(
    database: Database, resource: str, *, most: int = EXAMPLES
) -> Standing:
    """Read how an environment stands; Dataverse is not asked.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """

    def read(connection: Connection) -> Standing:
        since = datetime.now(UTC) - timedelta(hours=24)
        passed = progress.read_progress(connection, resource)
        return Standing(
            findings.counts(connection, resource),
            tuple(findings.examples(connection, resource, most)),
            passed.last_pass_finished_at,
            passed.pass_rows,
            *progress.requests_of_a_day(connection, since),
        )

    return database.transact(read, repeatable=True)
