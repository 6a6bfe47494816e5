"""The flags of `apex sync`, and the launchpad form of the job `sync_campaign_metrics`."""

from dataclasses import dataclass

from apex_pipeline.dataverse.batch import MAX_OPERATIONS
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    switch,
    text,
)
from apex_pipeline.postgres.resent_rows import parse_slice
from apex_pipeline.sync.run_options import (
    DEFAULT_TIME_BUDGET_SECONDS,
    StreamOptions,
    SyncOptions,
)


@dataclass(frozen=True)
class SyncForm(Form):
    """Options of one run; the schedule uses the defaults."""

    page_size: int = option(
        "Rows read from Postgres at a time",
        default=1000,
        flag=None,
        least=1,
        most=10_000,
    )
    limit: int = number("Maximum rows to deliver", unset="no limit", least=1)
    time_budget_seconds: float = option(
        "Stop starting new work after this many seconds; other rows stay pending",
        default=DEFAULT_TIME_BUDGET_SECONDS,
        flag="--time-budget",
        metavar="SECONDS",
        least=0,
        most=int(DEFAULT_TIME_BUDGET_SECONDS),
    )
    # The rows of a refused request are sent again in a single `$batch`.
    rows_per_request: int = number(
        "Rows per request",
        unset="what Dataverse handles best",
        metavar="ROWS",
        least=1,
        most=MAX_OPERATIONS,
    )
    dry_run: bool = switch("Read and validate; send nothing, mark nothing")
    accept_duplicates: bool = switch(
        "Deliver although the table holds records that another flow created. Stored; "
        "pass it only once"
    )
    since: str = text(
        "Resend rows, exported or not, created at or after this date or instant …",
        kind="instant",
    )
    until: str = text("… and before this date or instant …", kind="instant")
    campaign: str = text("… for this campaign", metavar="ID")
    exported_before: str = text(
        "Continue an interrupted resend: skip rows exported at or after this instant",
        kind="instant",
    )

    def options(self) -> SyncOptions:
        """Convert the fields for the core.

        Raises:
            ConfigError: The slice is invalid.
        """
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
