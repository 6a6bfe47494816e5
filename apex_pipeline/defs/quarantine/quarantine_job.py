"""What `apex quarantine` does, for those who live in the UI."""

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
# All of it is kept in the event log.
_MOST_LISTED = 1000


class QuarantineConfig(dg.Config):
    """What is to be done, and to which rows; without any, the quarantine is shown.

    What is not said is an empty text, since the launchpad hides what is null.
    """

    action: str = Field(
        default="list",
        description=(
            "list: the rows with their reasons. show: each row of `ids` with its "
            "values, and what is wrong with them. release: let rows go with the next "
            "sync. drop: never send them; needs `reason`."
        ),
    )
    ids: list[str] = Field(
        default=[], description="Which rows: these, dropped ones too …"
    )
    code: str = Field(
        default="", description="… or all that were refused with this code …"
    )
    matching: str = Field(
        default="",
        description="… (and, or) whose message holds this text, in whatever case …",
    )
    all_rows: bool = Field(default=False, description="… or all.")
    dropped: bool = Field(
        default=False,
        description="With code, matching or all_rows: those that were dropped.",
    )
    by_cause: bool = Field(
        default=False, description="With list: one line for each cause, not each row."
    )
    limit: int = Field(
        default=_ROWS_LISTED, description="With list: lines to show, 1 to 1 000."
    )
    offset: int = Field(default=0, description="With list: lines to pass over.")
    reason: str = Field(default="", description="Why rows are dropped; it is kept.")
    decided_by: str = Field(
        default="", description="Who drops them; if not said, the run is named."
    )

    def selection(self) -> Selection:
        """The rows that are meant; all, where a list is asked for without more.

        Raises:
            ConfigError: That cannot be told, or the action is none of the four.
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
    """Show rows in quarantine, release or drop them; all that are meant, or none."""
    try:
        selection = config.selection()
        by = config.decided_by or f"Dagster run {context.run.run_id[:8]}"
        with services.open_store(services.settings()) as store:
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
    description="Shows rows in quarantine, and releases or drops those you name, as `apex "
    "quarantine`. When the check no_rows_quarantined warns.",
    tags=OPERATOR_TAGS,
)
def release_quarantine() -> None:
    """Show rows in quarantine, release or drop them."""
    change_quarantine()
