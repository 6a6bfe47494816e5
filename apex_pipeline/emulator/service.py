"""Leads each operation through the guard to what carries it out."""

from collections.abc import Callable

from apex_pipeline.emulator import (
    aggregates,
    batch_requests,
    bulk,
    customization,
    definition_reads,
    guard,
    guids,
    places,
    properties,
    record_addresses,
    record_queries,
    records,
    relationship_changes,
    roles,
    solutions,
    targets,
    tracking,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.functions import FUNCTIONS
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.wire import OperationRequest, Response


def handle(
    env: EmulatedEnvironment, user: Principal, request: OperationRequest
) -> Response:
    """Carry out one operation; an error becomes its answer."""
    try:
        place = places.find(env, request)
        guard.check(place, request)
        call = Call(env, user, request, place)
        if place.resource == "$batch":
            return batch_requests.run(
                env, lambda inner: handle(env, user, inner), request
            )
        with env.writing():
            return handler_of(request.method, place.resource, place.name)(call)
    except web_api_errors.WebApiError as error:
        return wire.error_response(error, request.headers.get("prefer", ""))


def handler_of(method: str, resource: str, name: str) -> Callable[[Call], Response]:
    """What carries out a method on a kind of address, or a message."""
    if resource == "message":
        return FUNCTIONS[name]
    return HANDLERS.get(f"{method} {resource}") or HANDLERS[resource]


def _service_document(call: Call) -> Response:
    sets = [
        {"name": table.entity_set, "kind": "EntitySet", "url": table.entity_set}
        for table in call.env.tables
    ]
    return call.answer("", value=sets)


def _create(call: Call) -> Response:
    """From "Create a table row using the Web API"."""
    table, request = call.table, call.request
    draft = targets.read_target(call.env, table, request.json(table.entity_set))
    (record_id,) = records.create(call.env, call.user, table, [draft])
    identity = guids.load_guid(record_id)
    if table.name == "role":
        made = {"MetadataId": identity}
        solutions.file_component(call.env, request, solutions.ROLE, made)
    elif "mscrm.solutionuniquename" in request.headers:
        raise web_api_errors.not_emulated(
            f"filing {table.name} records into a solution."
        )
    if _wants_representation(call):
        return _represent(call, record_id, 201)
    url = call.record_url(identity)
    return Response(204, headers={"OData-EntityId": url, "Location": url})


def _retrieve(call: Call) -> Response:
    call.user.require("Read", call.table)
    return record_queries.retrieve(call, call.table, located(call))


def _patch(call: Call) -> Response:
    """Upsert; update only with If-Match, create only with `If-None-Match: *`.

    From "Use Upsert to create or update a record" and "Perform conditional operations".
    The answer repeats the key of the URL, whether the record was made or changed. The
    string `null` in If-None-Match, which Microsoft's samples send, is no condition.
    """
    env, table, address, request = call.env, call.table, call.address, call.request
    draft = targets.read_target(env, table, request.json(table.entity_set))
    must_match = request.headers.get("if-match")
    found = record_addresses.resolve(env, table, address)
    if must_match:
        if found is None and address.record_id is not None:
            raise web_api_errors.no_such_record(
                table.name, guids.load_guid(address.record_id)
            )
        records.check_match(env, table, found, must_match)
    elif request.headers.get("if-none-match") == "*" and found is not None:
        raise web_api_errors.record_exists()
    record_id, created = records.upsert(env, call.user, table, address, draft)
    if _wants_representation(call):
        return _represent(call, record_id, 201 if created else 200)
    url = call.record_url(str(call.place.key))
    return Response(204, headers={"OData-EntityId": url})


def _delete(call: Call) -> Response:
    record_id = located(call)
    match = call.request.headers.get("if-match", "*")
    records.check_match(call.env, call.table, record_id, match)
    records.delete(call.env, call.user, call.table, record_id)
    return Response(204)


def located(call: Call) -> str:
    """The primary key of the record that the call is about."""
    found = record_addresses.resolve(call.env, call.table, call.address)
    if found is not None:
        return found
    if call.address.record_id is not None:
        identity = guids.load_guid(call.address.record_id)
        raise web_api_errors.no_such_record(call.table.name, identity)
    raise web_api_errors.no_such_key_value(call.table.name)


def _related(call: Call) -> Response:
    """The records behind a navigation property; 204 where a lookup is empty."""
    step, record_id = call.step, located(call)
    call.user.require("Read", call.table)
    if step.many:
        return record_queries.list_records(call, step.other, step.of_record(record_id))
    call.user.require("Read", step.other)
    other = properties.referenced(call.env, step, record_id)
    return (
        Response(204)
        if other is None
        else record_queries.retrieve(call, step.other, other)
    )


def _on_record(answer: Callable[[Call, str], Response]) -> Callable[[Call], Response]:
    return lambda call: answer(call, located(call))


def _wants_representation(call: Call) -> bool:
    return call.request.preferences().get("return") == "representation"


def _represent(call: Call, record_id: str, status: int) -> Response:
    call.user.require("Read", call.table)
    answer = record_queries.retrieve(call, call.table, record_id)
    others = answer.headers.get("Preference-Applied")
    applied = "return=representation" + (f",{others}" if others else "")
    headers = {**answer.headers, "Preference-Applied": applied}
    if status == 201:
        url = call.record_url(guids.load_guid(record_id))
        headers |= {"OData-EntityId": url, "Location": url}
    return Response(status, answer.body, headers)


# By kind of address, with the method before it where it makes a difference.
HANDLERS: dict[str, Callable[[Call], Response]] = {
    "service document": _service_document,
    "records": lambda call: record_queries.list_records(call, call.table),
    "aggregation": aggregates.apply,
    "changes": tracking.list_changes,
    "count": record_queries.count_records,
    "POST records": _create,
    "bulk message": bulk.run,
    "GET record": _retrieve,
    "PATCH record": _patch,
    "DELETE record": _delete,
    "property": _on_record(properties.column),
    "related record": _related,
    "related records": _related,
    "reference": _on_record(properties.reference),
    "references": _on_record(properties.reference),
    "systemuser RetrieveUserPrivileges": _on_record(roles.retrieve_user_privileges),
    "role AddPrivilegesRole": _on_record(roles.add_privileges),
    **definition_reads.HANDLERS,
    **customization.HANDLERS,
    **relationship_changes.HANDLERS,
}
