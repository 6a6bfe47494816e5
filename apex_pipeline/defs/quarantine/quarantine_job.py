"""The job that does in the Dagster UI what `apex quarantine` does in a terminal."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from pydantic import Field

from apex_pipeline.defs.job_tags import OPERATOR_TAGS
from apex_pipeline.defs.quarantine.quarantine_asset import (
    causes_table,
    quarantine_metadata,
    read_quarantine,
    report_check,
    rows_table,
    table,
)
from apex_pipeline.defs.services import Services
from apex_pipeline.defs.sync_specs import QUARANTINED
from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.postgres.store import Store
from apex_pipeline.quarantine.decisions import Decision, Selection
from apex_pipeline.quarantine.explanation import examine

_ROWS_LISTED = 200
# The event log stores the whole list.
_MOST_LISTED = 1000


class QuarantineConfig(dg.Config):
    """What to do, and with which rows; by default the quarantine is listed.

    An empty text means not set, because the launchpad hides fields that are null.
    """

    action: str = Field(
        default="list",
        description=(
            "list: show the rows and why each was refused. show: show each row of `ids` "
            "with its values and what is wrong with them. release: deliver rows with the "
            "next sync. drop: never send them; needs `reason`."
        ),
    )
    ids: list[str] = Field(
        default=[], description="Which rows: these ids, dropped ones included …"
    )
    code: str = Field(default="", description="… or all rows refused with this code …")
    matching: str = Field(
        default="",
        description="… and/or whose message contains this text, in any case …",
    )
    all_rows: bool = Field(default=False, description="… or all rows.")
    dropped: bool = Field(
        default=False,
        description="With code, matching or all_rows: dropped rows instead of waiting ones.",
    )
    by_cause: bool = Field(default=False, description="With list: group by cause.")
    limit: int = Field(
        default=_ROWS_LISTED,
        description="With list: maximum lines to show, 1 to 1 000.",
    )
    offset: int = Field(default=0, description="With list: lines to skip.")
    reason: str = Field(default="", description="With drop: why; stored with the rows.")
    decided_by: str = Field(
        default="", description="With drop: who decided it; empty for this run."
    )

    def selection(self) -> Selection:
        """Return the selected rows; `list` without a selection means all.

        Raises:
            ConfigError: The selection is incomplete or the action unknown.
        """
        if self.action not in _ACTIONS:
            raise ConfigError(f"action must be {', '.join(_ACTIONS)}.")
        if self.action == "show" and not self.ids:
            raise ConfigError("show needs the ids of the rows.")
        if not (1 <= self.limit <= _MOST_LISTED and 0 <= self.offset < 2**31):
            raise ConfigError(
                f"limit must be 1 to {_MOST_LISTED}, offset 0 to 2147483647."
            )
        named = self.ids or self.code or self.matching
        return Selection(
            ids=tuple(self.ids),
            code=self.code or None,
            matching=self.matching or None,
            everything=self.all_rows or (self.action == "list" and not named),
            dropped=self.dropped,
        )


@dg.op(name="quarantine")
def change_quarantine(
    context: dg.OpExecutionContext, config: QuarantineConfig, services: Services
) -> None:
    """List, show, release or drop rows; either all selected rows change or none."""
    try:
        selection = config.selection()
        by = config.decided_by or f"Dagster run {context.run.run_id[:8]}"
        with services.open_store(services.settings(), run=context.run) as store:
            metadata = _ACTIONS[config.action](store, selection, config, by)
            state = read_quarantine(store)
    except ApexError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    context.add_output_metadata(metadata)
    context.log_event(
        dg.AssetMaterialization(QUARANTINED.key, metadata=quarantine_metadata(state))
    )
    report_check(context.instance, state)
    context.log.info("%d rows are in quarantine", state.waiting)


def _list(
    store: Store, selection: Selection, config: QuarantineConfig, _: str
) -> dict[str, Any]:
    if config.by_cause:
        causes = store.quarantine_causes(selection, config.limit, config.offset)
        return {"causes": causes_table(causes)} if causes else {"causes_found": 0}
    if selection.ids:
        found = [
            row for text in selection.ids for row, _ in store.quarantined_row(text)
        ]
    else:
        found = store.quarantined_rows(selection, config.limit, config.offset)
    return {"rows": rows_table(found)} if found else {"rows_found": 0}


def _show(
    store: Store, selection: Selection, _: QuarantineConfig, __: str
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
    store: Store, selection: Selection, _: QuarantineConfig, __: str
) -> dict[str, Any]:
    return {"rows_released": store.release(selection)}


def _drop(
    store: Store, selection: Selection, config: QuarantineConfig, by: str
) -> dict[str, Any]:
    return {"rows_dropped": store.drop(selection, Decision(config.reason, by))}


_Action = Callable[[Store, Selection, QuarantineConfig, str], dict[str, Any]]
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
    """List, show, release or drop quarantined rows."""
    change_quarantine()
