"""`$ref`: which records are joined, joining them, and parting them again.

From "Associate and disassociate table rows using the Web API".
"""

from apex_pipeline.emulator import errors, guids, records, security, targets
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.relationships import Navigation
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import USER_ROLE
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.targets import Draft
from apex_pipeline.emulator.wire import Response

_MOST = 5000


def answer(call: Call, record_id: str) -> Response:
    """Carry out one operation on `/{set}({key})/{navigation}/$ref`."""
    step, method = call.step, call.request.method
    if method == "GET":
        return _show(call, record_id)
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


def referenced(env: Environment, step: Navigation, record_id: str) -> str | None:
    """The record that a lookup refers to, if it is there."""
    condition, values = step.of_record(record_id)
    key = quoted(step.other.primary_key)
    found = env.storage.select(step.other, key, condition, values)
    return found[0][0] if found else None


def _owner_of(call: Call, other: str) -> str | None:
    """The record that one of a collection belongs to."""
    table, column = call.step.other, quoted(call.step.column)
    condition = f"{quoted(table.primary_key)} = ?"
    found = call.env.storage.select(table, column, condition, (other,))
    return found[0][0] if found else None


def _set(call: Call, table: Table, record_id: str, value: str | None) -> None:
    draft = Draft((call.step.column,), [value])
    records.update(call.env, call.user, table, [draft], [record_id])


def _link(call: Call, link: tuple[str, bool], pair: tuple[str, str]) -> None:
    """Joining what is joined is refused: "Cannot insert duplicate key", observed."""
    kind, is_source = link
    if kind != USER_ROLE:
        raise errors.not_emulated(f"changing the association {call.step.name}.")
    storage = call.env.storage
    call.user.require("Assign", call.env.table("role"))
    ends = (kind, *(pair if is_source else pair[::-1]))
    where = "FROM link WHERE kind = ? AND source = ? AND target = ?"
    if call.request.method == "DELETE":
        storage.execute(f"DELETE {where}", ends)
    elif storage.rows(f"SELECT 1 {where}", ends):
        raise errors.duplicate_key()
    else:
        security.add_link(call.env, *ends)


def _named(call: Call) -> str:
    """The other record: by the path, by `$id`, or by `@odata.id` in the body."""
    other = call.step.other
    if call.place.key is not None:
        url = f"{other.entity_set}({call.place.key})"
    elif call.request.method == "DELETE":
        url = call.request.options().get("$id", "")
    else:
        url = str(call.request.json(call.table.entity_set).get("@odata.id", ""))
    return targets.referenced(call.env, url, [other.name])


def _show(call: Call, record_id: str) -> Response:
    other = call.step.other
    call.user.require("Read", other)
    condition, values = call.step.of_record(record_id)
    key = quoted(other.primary_key)
    found = call.env.storage.select(other, key, condition, values, limit=_MOST + 1)
    if len(found) > _MOST:
        raise errors.not_emulated("pages of references.")
    url = f"{call.request.api}/{other.entity_set}"
    listed = [{"@odata.id": f"{url}({guids.load_guid(row[0])})"} for row in found]
    if call.step.many:
        return call.answer("#Collection($ref)", value=listed)
    return call.answer("#$ref", **listed[0]) if listed else Response(204)
