"""States and status reasons: which go together, and what a state sets.

From "Define status reason transitions" and the StatusOptionMetadata of the Web API
reference; the error is observed.
"""

from typing import Any

from apex_pipeline.emulator import errors, guids
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.targets import Draft

_COLUMNS = frozenset({"statecode", "statuscode"})


def complete(
    env: Environment, table: Table, draft: Draft, record_id: str | None
) -> Draft:
    """A draft whose state and status belong together.

    A state alone sets its default status. A status alone has to belong to the state of
    the record, or to the first where the record is new.

    Args:
        env: Where the record is.
        table: Its table.
        draft: What is to be written.
        record_id: The record; None for a new one.
    """
    if _COLUMNS.isdisjoint(draft.columns):
        return draft
    held = dict(zip(draft.columns, draft.values, strict=True))
    for name in _COLUMNS & held.keys():
        if held[name] is None:
            raise errors.WebApiError(
                400, "0x80040200", f"Required field missing. {name} must not be null."
            )
    state = held.get("statecode", _state_of(env, table, record_id))
    belonging = [
        int(option["Value"])
        for option in _options(table, "statuscode")
        if option.get("State", option["Value"] - 1) == state
    ]
    if "statuscode" not in held:
        return draft.with_values({"statuscode": belonging[0]})
    if held["statuscode"] in belonging:
        return draft
    labels = {
        option["Value"]: option["Label"]["LocalizedLabels"][0]["Label"]
        for option in _options(table, "statecode")
    }
    shown = "" if record_id is None else f" with Id {guids.load_guid(record_id)}"
    raise errors.WebApiError(
        400,
        "0x80048408",
        f"{held['statuscode']} is not a valid status code for state code"
        f" {table.definition['SchemaName']}State.{labels[state]} on {table.name}{shown}.",
    )


def _state_of(env: Environment, table: Table, record_id: str | None) -> Any:
    if record_id is None:
        return 0
    condition = f"{quoted(table.primary_key)} = ?"
    return env.storage.select(table, "statecode", condition, (record_id,))[0][0]


def _options(table: Table, name: str) -> list[Any]:
    options: Any = table.columns[name].definition["OptionSet"]
    listed: list[Any] = options["Options"]
    return listed
