"""The options of `apex reconcile` and of the job `reconcile_dataverse`."""

from dataclasses import dataclass

from apex_pipeline.errors import ConfigError
from apex_pipeline.flags_and_launchpad_forms.declaring import (
    Form,
    number,
    option,
    switch,
)
from apex_pipeline.reconcile.run_report import (
    DEFAULT_REQUESTS,
    DEFAULT_TIME_BUDGET_SECONDS,
    ReconcileOptions,
)

LONGEST_SECONDS = 3600


@dataclass(frozen=True)
class ReconcileForm(Form):
    """Options of one run; the schedule uses the defaults."""

    repair: bool = switch(
        "Clear exported_at where the record is missing or differs; the next sync sends "
        "these rows again. Nothing is deleted"
    )
    adopt: bool = switch(
        "Accept the records that another flow created as the delivery of their rows, and "
        "allow the sync to start. Switch that flow off first. No sync runs meanwhile"
    )
    days: int = number(
        "Compare only rows of so many last days", unset="all rows", least=1, most=36_500
    )
    full: bool = switch("Start over and compare all rows and records")
    time_budget_seconds: float = option(
        "Stop starting new work after this many seconds; the next run continues",
        default=DEFAULT_TIME_BUDGET_SECONDS,
        flag="--time-budget",
        metavar="SECONDS",
        least=0,
        most=LONGEST_SECONDS,
    )
    requests: int = option(
        "Stop starting new work after this many requests; they count against the "
        "tenant's daily entitlement",
        default=DEFAULT_REQUESTS,
        least=1,
        most=1_000_000,
    )

    def options(self) -> ReconcileOptions:
        """Convert the fields for the core.

        Raises:
            ConfigError: They contradict each other.
        """
        if self.days and (self.full or self.adopt):
            raise ConfigError("`days` cannot be combined with `full` or `adopt`.")
        return ReconcileOptions(
            repair=self.repair,
            adopt=self.adopt,
            days=self.days or None,
            full=self.full,
            time_budget=self.time_budget_seconds,
            requests=self.requests,
        )
