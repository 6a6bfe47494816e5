"""InsertOptionValue: one more option of a local choice.

From "InsertOptionValue Action" of the Web API reference. A value that is left out is
the next one of the publisher's range, which begins at 100,000,000 (chosen: of the
default publisher's 10,000).
"""

from dataclasses import replace
from typing import Any

from apex_pipeline.emulator import definitions, errors, metadata
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import make_column
from apex_pipeline.emulator.wire import Response

_FIRST = 100_000_000


def insert(call: Call) -> Response:
    """Add the option, and answer with its value."""
    env = call.env
    call.user.require_plain("prvWriteAttribute", "attribute")
    body = call.request.json("InsertOptionValue")
    table = metadata.find_table(env, f"LogicalName='{body.get('EntityLogicalName')}'")
    name = str(body.get("AttributeLogicalName"))
    column = table.columns.get(name)
    if column is None or column.kind != "Picklist":
        raise errors.invalid_definition(f"{table.name} has no choice {name}.")
    options: Any = column.definition["OptionSet"]
    listed: list[Any] = options["Options"]
    label = definitions.labelled("DisplayName", body.get("Label"))
    if label == definitions.EMPTY_LABEL:
        raise errors.invalid_definition("Label is required.")
    values = [int(option["Value"]) for option in listed]
    value = body.get("Value")
    if value is None:
        value = max([_FIRST - 1, *values]) + 1
    if type(value) is not int or value in values:
        raise errors.WebApiError(
            400, "0x8004f019", f"The value {value} is taken, or is not a number."
        )
    added = {"Value": value, "Label": label}
    definition = column.definition | {
        "OptionSet": {**options, "Options": [*listed, added]}
    }
    columns = {**table.columns, name: make_column(table.name, definition)}
    env.save(replace(table, columns=columns, plans={}))
    return call.response(NewOptionValue=value)
