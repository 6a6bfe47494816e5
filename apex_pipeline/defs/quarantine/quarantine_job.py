"""The job that does in the Dagster UI what `apex quarantine` does in a terminal."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from apex_pipeline.defs.form_schema import form_schema
from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import (
    causes_table,
    quarantine_metadata,
    read_quarantine,
    report_check,
    rows_table,
    table,
)
from apex_pipeline.defs.run_failures import failures
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import QUARANTINED
from apex_pipeline.flags_and_launchpad_forms.quarantine_form import QuarantineForm
from apex_pipeline.postgres.store import Store
from apex_pipeline.quarantine import listing
from apex_pipeline.quarantine.decisions import Decision, QuarantineSelection
from apex_pipeline.quarantine.explanation import examine


@dg.op(name="quarantine", config_schema=form_schema(QuarantineForm))
def change_quarantine(context: dg.OpExecutionContext, services: Services) -> None:
    """List, show, release or drop rows; either all selected rows change or none."""
    with failures():
        form = QuarantineForm(**context.op_config)
        selection = form.selection()
        by = form.decided_by or f"Dagster run {context.run.run_id[:8]}"
        with services.open_store(services.settings(), run=context.run) as store:
            metadata = _ACTIONS[form.action](store, selection, form, by)
            state = read_quarantine(store)
    context.add_output_metadata(metadata)
    context.log_event(
        dg.AssetMaterialization(QUARANTINED.key, metadata=quarantine_metadata(state))
    )
    report_check(context.instance, state)
    context.log.info("%d rows are in quarantine", state.waiting)


def _list(
    store: Store, selection: QuarantineSelection, form: QuarantineForm, _: str
) -> dict[str, Any]:
    if form.by_cause:
        causes = store.ask(listing.causes, selection, form.limit, form.offset)
        return {"causes": causes_table(causes)} if causes else {"causes_found": 0}
    if selection.ids:
        found = [
            row for text in selection.ids for row, _ in store.quarantined_row(text)
        ]
    else:
        found = store.ask(listing.rows, selection, form.limit, form.offset)
    return {"rows": rows_table(found)} if found else {"rows_found": 0}


def _show(
    store: Store, selection: QuarantineSelection, _: QuarantineForm, __: str
) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for text in selection.ids:
        for row, values in store.quarantined_row(text):
            shown[f"row_{len(shown) // 2 + 1}"] = rows_table([row])
            shown[f"row_{len(shown) // 2 + 1}_columns"] = table(
                [
                    {
                        "column": line.name,
                        "value": line.value,
                        "dataverse_column": line.dataverse,
                        "would_be_sent": line.sent or "",
                        "wrong": line.problem or "",
                    }
                    for line in examine(row, values)
                ]
            )
    return shown


def _release(
    store: Store, selection: QuarantineSelection, _: QuarantineForm, __: str
) -> dict[str, Any]:
    return {"rows_released": store.release(selection)}


def _drop(
    store: Store, selection: QuarantineSelection, form: QuarantineForm, by: str
) -> dict[str, Any]:
    return {"rows_dropped": store.drop(selection, Decision(form.reason, by))}


_Action = Callable[[Store, QuarantineSelection, QuarantineForm, str], dict[str, Any]]
_ACTIONS: dict[str, _Action] = {
    "list": _list,
    "show": _show,
    "release": _release,
    "drop": _drop,
}


@dg.job(
    executor_def=dg.in_process_executor,
    description="Lists quarantined rows, and releases or drops those you select, like "
    "`apex quarantine`. Run it when the check no_rows_quarantined warns.",
    tags=OPERATOR_TAGS,
)
def release_quarantine() -> None:
    change_quarantine()
