"""Provisioning by hand, for those who live in the UI."""

import os
from collections.abc import Mapping, Sequence

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError
from apex_pipeline.monitoring.alerts.journal import VARIABLE
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.provisioning.dataverse import provision
from apex_pipeline.settings import load_database_url, read_variable

_MADE = ("would_be_made", "made")


class ProvisionConfig(dg.Config):
    """What a run may do."""

    plan_only: bool = Field(
        default=False, description="Show what would be made, and make nothing."
    )


@dg.op
def make_database_ready(
    context: dg.OpExecutionContext, config: ProvisionConfig
) -> None:
    """Make what the databases lack; what is right is left alone."""
    from apex_pipeline.provisioning import databases  # noqa: PLC0415  loads yoyo

    try:
        outcome = databases.provision_database(
            load_database_url(os.environ),
            read_variable(os.environ, VARIABLE),
            plan_only=config.plan_only,
        )
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    made = {_MADE[0 if config.plan_only else 1]: outcome.names}
    by_hand = [outcome.by_hand] if outcome.by_hand else []
    _tell(context, made | {"to_be_mended_by_hand": by_hand})


@dg.op
def make_dataverse_ready(
    context: dg.OpExecutionContext, config: ProvisionConfig, services: Services
) -> None:
    """Make what Dataverse lacks, or fail with what only a person can mend."""
    try:
        settings = services.settings()
        outcome = provision(
            settings.dataverse,
            load_administrator(os.environ, settings.dataverse),
            settings.token_cache_path,
            plan_only=config.plan_only,
            tell=lambda text: context.log.info("made: %s", text),
        )
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    plan = outcome.plan
    planned = [change.text for change in plan.changes] if config.plan_only else []
    lists = {
        "would_be_made": planned,
        "made": outcome.applied,
        "to_be_mended_by_hand": plan.drifts,
        "verified": outcome.checks,
        "notes": plan.notes,
    }
    _tell(context, lists)


def _tell(context: dg.OpExecutionContext, lists: Mapping[str, Sequence[str]]) -> None:
    context.add_output_metadata(
        {
            name: dg.MetadataValue.md("\n".join(f"- {text}" for text in texts))
            for name, texts in lists.items()
            if texts
        }
    )
    if not any(lists.get(name) for name in _MADE):
        context.log.info("nothing had to be made")
    for text in lists["to_be_mended_by_hand"]:
        context.log.warning("to be mended by hand: %s", text)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Makes the Dataverse table, role and application user as they should be, "
    "as `apex provision dataverse`. Once for a new environment, and when the doctor or an "
    "alert says that the table or role has drifted.",
    tags=OPERATOR_TAGS,
)
def provision_dataverse() -> None:
    """Make the Dataverse table, role and application user as needed."""
    make_dataverse_ready()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Applies the migrations that the databases do not have yet, as `apex "
    "provision database`. Once for a new database, and after each upgrade.",
    tags=OPERATOR_TAGS,
)
def provision_database() -> None:
    """Apply the migrations that the databases do not have yet."""
    make_database_ready()
