"""The launchpad options of a sync."""

import dagster as dg
from pydantic import Field

from apex_pipeline.dataverse.batch import MAX_OPERATIONS
from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres.resent_rows import parse_slice
from apex_pipeline.sync.run import DEFAULT_TIME_BUDGET_SECONDS, SyncOptions
from apex_pipeline.sync.stream import StreamOptions


class SyncConfig(dg.Config):
    """Options of one run; the schedule uses the defaults.

    An empty text or 0 means not set, because the launchpad hides fields that are null.
    """

    page_size: int = Field(
        default=1000,
        description="Rows read from Postgres at a time, 1 to 10 000.",
    )
    rows_per_request: int = Field(
        default=0,
        description=(
            f"Rows per UpsertMultiple request, 1 to {MAX_OPERATIONS}; 0 to adapt to what "
            "Dataverse handles best."
        ),
    )
    time_budget_seconds: float = Field(
        default=DEFAULT_TIME_BUDGET_SECONDS,
        description=(
            "Stop starting new work after so many seconds; other rows stay pending. More "
            f"than 0, at most {DEFAULT_TIME_BUDGET_SECONDS:g}."
        ),
    )
    limit: int = Field(
        default=0, description="Maximum rows to deliver; 0 for no limit."
    )
    dry_run: bool = Field(
        default=False, description="Read and validate; send nothing and mark nothing."
    )
    accept_duplicates: bool = Field(
        default=False,
        description=(
            "Deliver although the table holds records that another flow created. Stored; "
            "set it only once."
        ),
    )

    since: str = Field(
        default="",
        description=(
            "Resend a slice of the rows, exported or not: created at or after this ISO "
            "date or instant (UTC unless it has an offset) …"
        ),
    )
    until: str = Field(default="", description="… and before this date or instant …")
    campaign: str = Field(default="", description="… for this campaign.")
    exported_before: str = Field(
        default="",
        description=(
            "Continue a resend that one run did not finish: skip rows exported at or "
            "after this instant."
        ),
    )

    def options(self) -> SyncOptions:
        """Validate the fields and convert them for the core.

        Validation in pydantic would show a stack trace in the run.

        Raises:
            ConfigError: Values are out of range.
        """
        longest = DEFAULT_TIME_BUDGET_SECONDS
        rules = {
            "page_size must be 1 to 10000.": 1 <= self.page_size <= 10_000,
            # The rows of a refused request are sent again in a single `$batch`.
            f"rows_per_request must be 0 to {MAX_OPERATIONS}.": (
                0 <= self.rows_per_request <= MAX_OPERATIONS
            ),
            f"time_budget_seconds must be above 0, at most {longest:g}.": (
                0 < self.time_budget_seconds <= longest
            ),
            "limit must be 0 or more.": self.limit >= 0,
        }
        problems = [rule for rule, is_kept in rules.items() if not is_kept]
        if problems:
            raise ConfigError(*problems)
        part = parse_slice(
            since=self.since or None,
            until=self.until or None,
            campaign=self.campaign or None,
            exported_before=self.exported_before or None,
        )
        return SyncOptions(
            StreamOptions(
                page_size=self.page_size,
                rows_per_request=self.rows_per_request or None,
                limit=self.limit or None,
                dry_run=self.dry_run,
            ),
            time_budget=self.time_budget_seconds,
            accept_duplicates=self.accept_duplicates,
            part=part,
        )
