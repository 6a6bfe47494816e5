"""One column of one record: `GET`, `PUT` and `DELETE` of `/{set}({key})/{column}`.

From "Retrieve a table row using the Web API" and "Update and delete table rows using
the Web API".
"""

from apex_pipeline.emulator import errors, guids, records, targets, wire
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Response


def answer(call: Call, record_id: str) -> Response:
    """Read, set or empty it."""
    if call.request.method == "GET":
        return _read(call, record_id)
    value = None
    if call.request.method == "PUT":
        body = call.request.json(call.table.entity_set)
        if set(body) - {"@odata.context"} != {"value"}:
            raise errors.malformed_payload(
                call.table.entity_set, "A property 'value' alone was expected."
            )
        value = body["value"]
    shown_as = call.table.columns[call.place.name].shown_as
    draft = targets.read_target(call.env, call.table, {shown_as: value})
    records.update(call.env, call.user, call.table, [draft], [record_id])
    return Response(204)


def _read(call: Call, record_id: str) -> Response:
    """204 where it is null, which is OData's rule; `$value` is the text alone."""
    table, column = call.table, call.table.columns[call.place.name]
    call.user.require("Read", table)
    condition = f"{quoted(table.primary_key)} = ?"
    ((value,),) = call.env.storage.select(
        table, quoted(column.name), condition, (record_id,)
    )
    if value is None:
        return Response(204)
    shown = column.codec.show(value)
    if call.place.resource == "raw property":
        text = str(value) if column.kind in {"String", "Memo"} else shown.strip('"')
        return Response(200, text.encode(), {"Content-Type": "text/plain"})
    record = f"{table.entity_set}({guids.load_guid(record_id)})"
    context = f"{call.request.api}/$metadata#{record}/{column.shown_as}"
    body = f'{{"@odata.context":"{context}","value":{shown}}}'
    return Response(200, body.encode(), {"Content-Type": wire.JSON_TYPE})
