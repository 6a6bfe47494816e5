"""One property of one record: a column, or what a navigation property joins (`$ref`).

From "Retrieve a table row using the Web API", "Update and delete table rows using the Web
API" and "Associate and disassociate table rows using the Web API".
"""

from apex_pipeline.emulator import (
    guids,
    record_addresses,
    records,
    security,
    targets,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.relationships import Navigation
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import USER_ROLE
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.targets import Draft
from apex_pipeline.emulator.wire import Response


def column(call: Call, record_id: str) -> Response:
    """Read, set or empty a column: `/{set}({key})/{column}`."""
    if call.request.method == "GET":
        return _read(call, record_id)
    value = None
    if call.request.method == "PUT":
        body = call.request.json(call.table.entity_set)
        if set(body) - {"@odata.context"} != {"value"}:
            raise web_api_errors.malformed_payload(
                call.table.entity_set, "A property 'value' alone was expected."
            )
        value = body["value"]
    shown_as = call.table.columns[call.place.name].shown_as
    draft = targets.read_target(call.env, call.table, {shown_as: value})
    records.update(call.env, call.user, call.table, [draft], [record_id])
    return Response(204)


def _read(call: Call, record_id: str) -> Response:
    """204 where it is null, which is OData's rule."""
    table, column = call.table, call.table.columns[call.place.name]
    call.user.require("Read", table)
    found = call.env.storage.of_record(table, quoted(column.name), record_id)
    if found is None or found[0] is None:
        return Response(204)
    shown = column.codec.show(found[0])
    record = f"{table.entity_set}({guids.load_guid(record_id)})"
    context = f"{call.request.api}/$metadata#{record}/{column.shown_as}"
    body = f'{{"@odata.context":"{context}","value":{shown}}}'
    return Response(200, body.encode(), {"Content-Type": wire.JSON_TYPE})


def reference(call: Call, record_id: str) -> Response:
    """Carry out one operation on `/{set}({key})/{navigation}/$ref`."""
    step, method = call.step, call.request.method
    if not step.many:
        other = _named(call) if method == "PUT" else None
        _set(call, step.table, record_id, other)
        return Response(204)
    other = _named(call)
    if step.link is not None:
        _link(call, step.link, (record_id, other))
    elif method == "POST":
        _set(call, step.other, other, record_id)
    elif _owner_of(call, other) == record_id:
        _set(call, step.other, other, None)
    return Response(204)


def referenced(
    env: EmulatedEnvironment, step: Navigation, record_id: str
) -> str | None:
    """The record that a lookup refers to, if it is there."""
    key = quoted(step.other.primary_key)
    found = env.storage.select(step.other, key, *step.of_record(record_id))
    return found[0][0] if found else None


def _owner_of(call: Call, other: str) -> str | None:
    """The record that one of a collection belongs to."""
    step = call.step
    found = call.env.storage.of_record(step.other, quoted(step.column), other)
    return found[0] if found else None


def _set(call: Call, table: Table, record_id: str, value: str | None) -> None:
    draft = Draft((call.step.column,), [value])
    records.update(call.env, call.user, table, [draft], [record_id])


def _link(call: Call, link: tuple[str, bool], pair: tuple[str, str]) -> None:
    """Joining what is joined is refused: "Cannot insert duplicate key", observed."""
    kind, is_source = link
    if kind != USER_ROLE:
        raise web_api_errors.not_emulated(f"changing the association {call.step.name}.")
    storage = call.env.storage
    call.user.require("Assign", call.env.table("role"))
    ends = (kind, *(pair if is_source else pair[::-1]))
    where = "FROM link WHERE kind = ? AND source = ? AND target = ?"
    if call.request.method == "DELETE":
        storage.execute(f"DELETE {where}", ends)
    elif storage.rows(f"SELECT 1 {where}", ends):
        raise web_api_errors.duplicate_key()
    else:
        security.add_link(call.env, *ends)


def _named(call: Call) -> str:
    """The other record: by the path, by `$id`, or by `@odata.id` in the body."""
    other = call.step.other
    if call.place.key is not None:
        url = f"{other.entity_set}({call.place.key})"
    else:
        url = str(call.request.json(call.table.entity_set).get("@odata.id", ""))
    return record_addresses.referenced(call.env, url, [other.name])
