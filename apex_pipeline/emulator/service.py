"""Leads each operation to what carries it out; the routes of the Web API."""

import re
from urllib.parse import unquote

from apex_pipeline.emulator import (
    aggregates,
    batch,
    bulk,
    customization,
    errors,
    expansions,
    guids,
    metadata,
    queries,
    records,
    roles,
    solutions,
    targets,
    tracking,
    wire,
)
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.functions import FUNCTIONS
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.targets import Address
from apex_pipeline.emulator.wire import Request, Response

_ENTITY = re.compile(r"([A-Za-z_]\w*)(?:\((.*)\))?").fullmatch


def handle(env: Environment, user: Principal, request: Request) -> Response:
    """Carry out one operation; an error becomes its answer."""
    try:
        if request.path == "$batch":
            if request.method != "POST":
                raise errors.method_not_allowed(request.method)
            return batch.run(env, lambda inner: handle(env, user, inner), request)
        with env.writing():
            return _dispatch(env, user, request)
    except errors.WebApiError as error:
        return wire.error_response(error, request.headers.get("prefer", ""))


def _dispatch(env: Environment, user: Principal, request: Request) -> Response:
    segments = split_path(request.path)
    first = segments[0].removesuffix("()") if segments else ""
    name = first.partition("(")[0]
    if not segments:
        return _service_document(env, request)
    if name in FUNCTIONS:
        return FUNCTIONS[name](env, user, request)
    if name == "EntityDefinitions":
        return _definitions(env, user, request, segments)
    if name.startswith("$") or name in _NOT_EMULATED:
        raise errors.not_emulated(f"{name}.")
    return _entity(env, user, request, segments)


def split_path(path: str) -> list[str]:
    """Segments of a resource path, decoded; a slash between quotes does not split."""
    decoded = unquote(path).strip("/")
    return re.findall(r"(?:[^/']|'(?:[^']|'')*')+", decoded)


def _service_document(env: Environment, request: Request) -> Response:
    sets = [
        {"name": table.entity_set, "kind": "EntitySet", "url": table.entity_set}
        for table in env.tables
    ]
    return wire.json_response(
        {"@odata.context": f"{request.api}/$metadata", "value": sets}
    )


def _definitions(
    env: Environment, user: Principal, request: Request, segments: list[str]
) -> Response:
    """Definitions are read with prvReadEntity, columns with prvReadAttribute too."""
    if request.method != "GET":
        return customization.write(env, user, request, segments)
    user.require_plain("prvReadEntity", "entity")
    if "Attributes" in request.decoded_path() or "Attributes" in request.query:
        user.require_plain("prvReadAttribute", "attribute")
    return metadata.read(env, request, segments)


_NOT_EMULATED = frozenset(
    {
        "GlobalOptionSetDefinitions",
        "ManagedPropertyDefinitions",
        "RelationshipDefinitions",
    }
)


def _entity(
    env: Environment, user: Principal, request: Request, segments: list[str]
) -> Response:
    match = _ENTITY(segments[0])
    if match is None:
        raise errors.no_such_segment(segments[0])
    table = env.table_of_set(match[1])
    rest = segments[1:]
    if match[2] is None:
        return _collection(env, user, request, table, rest)
    address = targets.read_address(table, match[2])
    if rest:
        record_id = _located(env, table, address)
        return _below_record(env, user, request, table, (record_id, *rest))
    operation = _ON_RECORD.get(request.method)
    if operation is None:
        raise errors.method_not_allowed(request.method)
    return operation(env, user, request, table, address)


def _below_record(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    path: tuple[str, ...],
) -> Response:
    """Bound messages, associations and what is joined with a record."""
    record_id, name, *rest = path
    if name.startswith("Microsoft.Dynamics.CRM."):
        message = name.rpartition(".")[2].removesuffix("()")
        bound = roles.BOUND_FUNCTIONS.get((table.name, message))
        if bound is not None and request.method == "GET":
            return bound(env, user, request, record_id)
        if table.name == "role" and request.method == "POST":
            return roles.role_action(env, user, request, record_id, message)
        raise errors.no_such_segment(name)
    if rest == ["$ref"]:
        link = roles.Link(table, record_id, *name.partition("(")[::2])
        return roles.associate(env, user, request, link)
    if (table.name, name) not in roles.ASSOCIATIONS or rest or request.method != "GET":
        raise errors.not_emulated(f"the path segment {name} after a record.")
    other, within = roles.related(env, table, name, record_id)
    user.require("Read", other)
    return queries.list_records(env, other, request, within=within)


def _collection(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    rest: list[str],
) -> Response:
    if rest and rest[0].startswith("Microsoft.Dynamics.CRM."):
        if request.method != "POST":
            raise errors.method_not_allowed(request.method)
        return bulk.run(env, user, table, rest[0].rpartition(".")[2], request)
    if rest and rest != ["$count"]:
        raise errors.no_such_segment(rest[0])
    if request.method == "GET":
        return _list(env, user, request, table, counted=bool(rest))
    if request.method == "POST" and not rest:
        return _create(env, user, request, table)
    raise errors.method_not_allowed(request.method)


def _list(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    *,
    counted: bool,
) -> Response:
    user.require("Read", table)
    if counted and "$deltatoken" in request.options():
        return tracking.count_changes(env, table, request)
    if counted:
        return queries.count_records(env, table, request)
    if tracking.wants_tracking(request):
        return tracking.list_changes(env, user, table, request)
    if "$apply" in request.options():
        return aggregates.apply(env, table, request)
    expand = expansions.expander(env, user, table, request)
    return queries.list_records(env, table, request, expand=expand)


def _create(
    env: Environment, user: Principal, request: Request, table: Table
) -> Response:
    """From "Create a table row using the Web API"."""
    draft = targets.read_target(env, table, request.json(table.entity_set))
    (record_id,) = records.create(env, user, table, [draft])
    if table.name == "role":
        solutions.file_component(
            env, request, solutions.ROLE, guids.load_guid(record_id)
        )
    url = _record_url(request, table, guids.load_guid(record_id))
    if _wants_representation(request):
        return _represent(env, request, table, record_id, 201)
    return Response(204, headers={"OData-EntityId": url, "Location": url})


def _retrieve(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    address: Address,
) -> Response:
    user.require("Read", table)
    expand = expansions.expander(env, user, table, request)
    record_id = _located(env, table, address)
    return queries.retrieve(env, table, record_id, request, expand)


def _patch(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    address: Address,
) -> Response:
    """Upsert; update only with If-Match, create only with `If-None-Match: *`.

    From "Use Upsert to create or update a record" and "Perform conditional operations".
    The answer repeats the key of the URL, whether the record was made or changed. The
    string `null` in If-None-Match, which Microsoft's samples send, is no condition.
    """
    draft = targets.read_target(env, table, request.json(table.entity_set))
    must_match = request.headers.get("if-match")
    found = targets.resolve(env, table, address)
    if must_match:
        if found is None and address.record_id is not None:
            raise errors.no_such_record(table.name, guids.load_guid(address.record_id))
        records.check_match(env, table, found, must_match)
    elif request.headers.get("if-none-match") == "*" and found is not None:
        raise errors.record_exists()
    record_id, created = records.upsert(env, user, table, address, draft)
    if _wants_representation(request):
        return _represent(env, request, table, record_id, 201 if created else 200)
    key = split_path(request.path)[0].partition("(")[2].removesuffix(")")
    return Response(204, headers={"OData-EntityId": _record_url(request, table, key)})


def _delete(
    env: Environment,
    user: Principal,
    request: Request,
    table: Table,
    address: Address,
) -> Response:
    record_id = _located(env, table, address)
    records.check_match(env, table, record_id, request.headers.get("if-match", "*"))
    records.delete(env, user, table, record_id)
    return Response(204)


def _located(env: Environment, table: Table, address: Address) -> str:
    found = targets.resolve(env, table, address)
    if found is not None:
        return found
    if address.record_id is not None:
        raise errors.no_such_record(table.name, guids.load_guid(address.record_id))
    raise errors.no_such_key_value(table.name)


_ON_RECORD = {"GET": _retrieve, "PATCH": _patch, "DELETE": _delete}


def _wants_representation(request: Request) -> bool:
    return request.preferences().get("return") == "representation"


def _represent(
    env: Environment, request: Request, table: Table, record_id: str, status: int
) -> Response:
    answer = queries.retrieve(env, table, record_id, request)
    applied = {"Preference-Applied": "return=representation"}
    if status == 201:
        applied["OData-EntityId"] = _record_url(
            request, table, guids.load_guid(record_id)
        )
    return Response(status, answer.body, {**answer.headers, **applied})


def _record_url(request: Request, table: Table, key: str) -> str:
    return f"{request.api}/{table.entity_set}({key})"
