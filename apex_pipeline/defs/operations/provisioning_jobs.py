"""Jobs that do in the Dagster UI what `apex provision` does in a terminal."""

import os
from collections.abc import Mapping, Sequence

import dagster as dg

from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services, author_of
from apex_pipeline.flags_and_launchpad_forms.provision_form import ProvisionForm
from apex_pipeline.monitoring.alerts.journal import VARIABLE
from apex_pipeline.provisioning.administrator import load_administrator
from apex_pipeline.provisioning.audited import provision_audited
from apex_pipeline.settings import load_database_url, read_variable

_MADE = ("would_be_made", "made")


@dg.op(config_schema=form_schema(ProvisionForm))
def make_database_ready(context: dg.OpExecutionContext) -> None:
    """Apply the pending migrations to the databases."""
    from apex_pipeline.provisioning import databases  # noqa: PLC0415  loads yoyo

    form = ProvisionForm(**context.op_config)
    with failures():
        outcome = databases.provision_database(
            load_database_url(os.environ),
            read_variable(os.environ, VARIABLE),
            plan_only=form.plan_only,
            author=author_of(context.run),
        )
    changes = [*outcome.names, *(f"role {role}" for role in outcome.created)]
    changes += [f"granted: {each}" for each in outcome.granted]
    made = {_MADE[0 if form.plan_only else 1]: changes}
    by_hand = [outcome.by_hand] if outcome.by_hand else []
    _tell(context, made | {"to_be_mended_by_hand": by_hand})


@dg.op(config_schema=form_schema(ProvisionForm))
def make_dataverse_ready(context: dg.OpExecutionContext, services: Services) -> None:
    """Create what Dataverse lacks; list what needs a fix by hand."""
    form = ProvisionForm(**context.op_config)
    with failures():
        settings = services.settings()
        outcome = provision_audited(
            settings,
            load_administrator(os.environ, settings.dataverse),
            author_of(context.run),
            plan_only=form.plan_only,
            tell=lambda text: context.log.info("created: %s", text),
        )
    plan = outcome.plan
    planned = [change.text for change in plan.changes] if form.plan_only else []
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
        context.log.info("nothing to create")
    for text in lists["to_be_mended_by_hand"]:
        context.log.warning("fix by hand: %s", text)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Creates what is missing of the Dataverse table, role and application "
    "user, like `apex provision dataverse`. Run it once for a new environment, and when "
    "the doctor or an alert says that the table or role has changed.",
    tags=OPERATOR_TAGS,
)
def provision_dataverse() -> None:
    make_dataverse_ready()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Applies the pending migrations to the databases, like `apex provision "
    "database`. Run it once for a new database, and after each upgrade.",
    tags=OPERATOR_TAGS,
)
def provision_database() -> None:
    make_database_ready()
