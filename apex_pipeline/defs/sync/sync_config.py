"""The form in which a person tells a sync what to do."""

import dagster as dg
from pydantic import Field

from apex_pipeline.dataverse.batch import MAX_OPERATIONS
from apex_pipeline.errors import ConfigError
from apex_pipeline.postgres.resent_rows import parse_slice
from apex_pipeline.sync.run import DEFAULT_TIME_BUDGET_SECONDS, SyncOptions
from apex_pipeline.sync.stream import StreamOptions


class SyncConfig(dg.Config):
    """What one run may do; the defaults are those of the schedule.

    What is not said is an empty text or 0, since the launchpad hides what is null.
    """

    page_size: int = Field(
        default=1000,
        description="Rows read from Postgres at a time, 1 to 10 000.",
    )
    rows_per_request: int = Field(
        default=0,
        description=(
            f"Rows in one UpsertMultiple request, 1 to {MAX_OPERATIONS}; 0 to follow "
            "what Dataverse takes best."
        ),
    )
    time_budget_seconds: float = Field(
        default=DEFAULT_TIME_BUDGET_SECONDS,
        description=(
            "After so many seconds nothing more is begun; rows stay pending. More than "
            f"0, at most {DEFAULT_TIME_BUDGET_SECONDS:g}."
        ),
    )
    limit: int = Field(
        default=0, description="Deliver no more rows than this; 0 for no limit."
    )
    dry_run: bool = Field(
        default=False, description="Read and validate; send nothing and mark nothing."
    )
    accept_duplicates: bool = Field(
        default=False,
        description=(
            "Deliver although the table holds records that another flow made. "
            "Remembered; needed once."
        ),
    )

    since: str = Field(
        default="",
        description=(
            "Send a slice of the rows again, though they were exported: from this ISO "
            "date or instant on (UTC unless a zone is given) …"
        ),
    )
    until: str = Field(
        default="", description="… up to this date or instant, which is not in it …"
    )
    campaign: str = Field(default="", description="… of this campaign alone.")
    exported_before: str = Field(
        default="",
        description=(
            "Go on with a slice that one run did not finish: leave out what was "
            "exported at this instant or later."
        ),
    )

    def options(self) -> SyncOptions:
        """The same, for the core.

        Raises:
            ConfigError: Values are out of range. Checked here and not by the fields,
                whose refusal would be a stack trace in the run.
        """
        longest = DEFAULT_TIME_BUDGET_SECONDS
        rules = {
            "page_size must be 1 to 10000.": 1 <= self.page_size <= 10_000,
            # A refused request's rows go once more in a single `$batch`.
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
