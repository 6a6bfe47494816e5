"""Provisioning by hand, for those who live in the UI."""

import os

import dagster as dg
from pydantic import Field

from apex_pipeline.dataverse.administrator import load_administrator
from apex_pipeline.dataverse.provisioning import provision
from apex_pipeline.defs.services import Services
from apex_pipeline.errors import ApexError


class ProvisionConfig(dg.Config):
    """What a run may do."""

    plan_only: bool = Field(
        default=False, description="Show what would be made, and make nothing."
    )


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
    lists = {
        "would_be_made": [change.text for change in plan.changes]
        if config.plan_only
        else [],
        "made": outcome.applied,
        "to_be_mended_by_hand": plan.drifts,
        "verified": outcome.checks,
        "notes": plan.notes,
    }
    context.add_output_metadata(
        {
            name: dg.MetadataValue.md("\n".join(f"- {text}" for text in texts))
            for name, texts in lists.items()
            if texts
        }
    )
    if not any(lists[name] for name in ("would_be_made", "made")):
        context.log.info("nothing had to be made")
    for text in plan.drifts:
        context.log.warning("to be mended by hand: %s", text)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Make the Dataverse table, role and application user as needed.",
)
def provision_dataverse() -> None:
    """Make the Dataverse table, role and application user as needed."""
    make_dataverse_ready()
