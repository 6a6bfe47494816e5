"""Reads definitions: tables, columns, keys, privileges, relationships.

From "Query table definitions using the Web API": `$select`, `$filter` and `$expand`
work, there are no pages, and a column's typed properties need a cast.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apex_pipeline.emulator import (
    definition_filters,
    definition_properties,
    expand_clauses,
    odata,
    places,
    relationships,
    web_api_errors,
)
from apex_pipeline.emulator.definition_properties import (
    COLUMN_DEFAULTS,
    RELATIONSHIP,
    TABLE_DEFAULTS,
    belongs,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.syntax_tree import Literal
from apex_pipeline.emulator.table_definitions import (
    CRM,
    TYPES,
    Definition,
    privileges,
    public,
    type_code,
)
from apex_pipeline.emulator.wire import OperationRequest, Response

Handler = Callable[[Call], Response]
_missing = definition_properties.missing

_KINDS = {
    "Attributes": "AttributeMetadata",
    "Keys": "EntityKeyMetadata",
    "Privileges": "SecurityPrivilegeMetadata",
    "OneToManyRelationships": "OneToManyRelationshipMetadata",
    "ManyToOneRelationships": "OneToManyRelationshipMetadata",
    "ManyToManyRelationships": "ManyToManyRelationshipMetadata",
}
# Privileges is a property, which $select names (EntityMetadata, Web API reference).
_NAVIGATION = frozenset(_KINDS) - {"Privileges"} | {"OptionSet", "GlobalOptionSet"}
_TYPED = frozenset(name for each in TYPES.values() for name in each)
INNER_OPTIONS = frozenset({"$select", "$filter", "$expand"})


def find_table(env: EmulatedEnvironment, predicate: str) -> Table:
    """The table of `LogicalName='x'` or of a MetadataId."""
    parsed = odata.parse_key(predicate)
    if isinstance(parsed, Literal):
        for table in env.tables:
            if table.definition["MetadataId"] == parsed.text.lower():
                return table
        raise web_api_errors.WebApiError(
            404, "0x80040217", f"Could not find an entity with id {parsed.text}"
        )
    if list(parsed) != ["LogicalName"]:
        raise web_api_errors.key_not_declared("EntityMetadata")
    name = parsed["LogicalName"].text
    try:
        return env.table(name)
    except KeyError:
        if "_" not in name:
            raise web_api_errors.not_emulated(f"the table {name[:100]}.") from None
        raise web_api_errors.WebApiError(
            404,
            "0x80060888",
            f"Could not find an entity with name {name} and objectTypeCode -1.",
        ) from None


def table_view(env: EmulatedEnvironment, table: Table) -> Definition:
    """A table's definition with all that hangs on it."""
    every = list(relationships.every(env))
    return {
        **_own(table),
        "Attributes": [
            {**COLUMN_DEFAULTS, **TYPES[each.kind], **public(each.definition)}
            for each in table.columns.values()
        ],
        "Keys": [public(each.definition) for each in table.keys],
        "Privileges": privileges(table.definition),
        "ManyToOneRelationships": [
            each.definition for each in relationships.of_table(table)
        ],
        "OneToManyRelationships": [
            each.definition for each in every if each["ReferencedEntity"] == table.name
        ],
        "ManyToManyRelationships": [],
    }


def find_part(parts: list[Definition], predicate: str, kind: str) -> Definition:
    """The column, key or relationship of a name or of a MetadataId."""
    parsed = odata.parse_key(predicate)
    field, literal = (
        ("MetadataId", parsed)
        if isinstance(parsed, Literal)
        else next(iter(parsed.items()))
    )
    if field not in {"MetadataId", "LogicalName", "SchemaName"}:
        raise web_api_errors.key_not_declared(kind)
    for part in parts:
        if str(part.get(field)).lower() == literal.text.lower():
            return part
    raise web_api_errors.WebApiError(
        404, "0x80060888", f"Could not find {kind} with {field} {literal.text}."
    )


def _definitions(call: Call) -> Response:
    """Definitions are read with prvReadEntity, columns with prvReadAttribute too."""
    _require(call)
    env, request, key = call.env, call.request, call.place.key
    if call.place.resource == "definitions count":
        text = str(len(env.tables)).encode()
        return Response(200, text, {"Content-Type": "text/plain"})
    tables = env.tables if key is None else [find_table(env, key)]
    views = [_lazily(env, table, request) for table in tables]
    if key is None:
        return _collection(call, views, "#EntityDefinitions", "EntityMetadata")
    shown = _shape(views[0], request.options(), request, "EntityMetadata")
    return call.answer("#EntityDefinitions/$entity", **shown)


def _own(table: Table) -> Definition:
    """A table's properties; a kept definition may be older than some of them."""
    code = {"ObjectTypeCode": type_code(table.name)}
    return {**TABLE_DEFAULTS, **code, **public(table.definition)}


def _lazily(
    env: EmulatedEnvironment, table: Table, request: OperationRequest
) -> Definition:
    """A view without the parts that are not asked for; they would take the longest."""
    wanted = request.options().get("$expand", "") + request.options().get("$select", "")
    if any(name in wanted for name in _NAVIGATION):
        return table_view(env, table)
    view = {**_own(table), "Privileges": privileges(table.definition)}
    return view | dict.fromkeys(_NAVIGATION - {"OptionSet", "GlobalOptionSet"})


def _require(call: Call) -> None:
    call.user.require_plain("prvReadEntity", "entity")
    if "Attributes" in call.request.path or "Attributes" in call.request.query:
        call.user.require_plain("prvReadAttribute", "attribute")


def table_of(call: Call) -> Table:
    """The table that a path below EntityDefinitions begins with."""
    _, predicate = places.name_and_key(call.place.segments[0])
    return find_table(call.env, str(predicate))


def _parts(call: Call) -> Response:
    """Columns, keys, privileges and relationships of a table."""
    _require(call)
    place = call.place
    view = table_view(call.env, table_of(call))
    _check_known(view["LogicalName"], place.name)
    parts: list[Any] = view[place.name]  # type: ignore[assignment]  # a list
    kind = _KINDS[place.name]
    context = "#" + "/".join(place.segments[:3])
    if len(place.segments) > 2:
        kind = place.segments[2].removeprefix(CRM)
        if not _is_column_type(kind):
            raise web_api_errors.no_such_segment(place.segments[2])
        parts = [each for each in parts if each["@odata.type"] == f"#{CRM}{kind}"]
    return _collection(call, parts, context, kind)


def _is_column_type(kind: str) -> bool:
    """Casting to EnumAttributeMetadata is ruled out by the documentation."""
    stem = kind.removesuffix("AttributeMetadata")
    return stem not in {kind, "Enum"}


def _relationships(call: Call) -> Response:
    call.user.require_plain("prvReadEntity", "entity")
    place = call.place
    kind = place.name.removeprefix(CRM) or RELATIONSHIP
    if kind == "ManyToManyRelationshipMetadata":
        raise web_api_errors.not_emulated(f"reading {kind}.")
    if kind not in {RELATIONSHIP, "OneToManyRelationshipMetadata"}:
        raise web_api_errors.no_such_segment(place.name)
    found = [each.definition for each in relationships.every(call.env)]
    context = "#" + "/".join(place.segments)
    return _collection(call, found, context, kind)


def _collection(
    call: Call, found: list[Definition], context: str, kind: str
) -> Response:
    """Those that are asked for, or the one that the place names."""
    request, key = call.request, call.place.key
    options = request.options()
    if key is not None:
        shown_one = _shape(find_part(found, key, kind), options, request, kind)
        return call.answer(f"{context}/$entity", **shown_one)
    if "$filter" in options:
        node = odata.parse_filter(options["$filter"], request.aliases())
        found = [each for each in found if definition_filters.matches(node, each, kind)]
    shown = [_shape(each, options, request, kind) for each in found]
    return call.answer(context, value=shown)


def _shape(
    definition: Definition,
    options: Mapping[str, str],
    request: OperationRequest,
    kind: str,
) -> Definition:
    """Apply `$select` and `$expand`; MetadataId and the derived type are always shown."""
    names = [each.strip() for each in options.get("$select", "").split(",") if each]
    own = {name: value for name, value in definition.items() if name not in _NAVIGATION}
    for name in names:
        if name not in own or not belongs(name, kind):
            # One of a type takes a cast to the type that has it.
            typed = name in _TYPED
            raise (web_api_errors.no_such_property if typed else _missing)(name, kind)
    always = {"@odata.type", "MetadataId", "PrivilegeId"}
    shown = {
        name: value
        for name, value in own.items()
        if not names or name in names or name in always
    }
    if kind not in {"AttributeMetadata", "EntityMetadata", RELATIONSHIP}:
        shown.pop("@odata.type", None)
    for clause in (
        expand_clauses.parse(options["$expand"]) if "$expand" in options else ()
    ):
        if unknown := set(clause.options) - INNER_OPTIONS:
            raise web_api_errors.not_emulated(
                f"{min(unknown)} within $expand of {clause.name}."
            )
        value = _expandable(definition, clause.name, kind)
        shown[clause.name] = _expanded(value, clause, request)
    return shown


def _check_known(table: object, name: str) -> None:
    """Users and roles have relationships of this kind, which are not described here."""
    related = {each for each, _ in relationships.ASSOCIATIONS}
    if name == "ManyToManyRelationships" and table in related:
        raise web_api_errors.not_emulated(f"{name} of {table}.")


def _expandable(definition: Definition, name: str, kind: str) -> object:
    _check_known(definition.get("LogicalName"), name)
    if name == "GlobalOptionSet" and "OptionSet" in definition:
        # Choices are local ones here, so there is none to point to.
        return None
    if name not in _NAVIGATION or name not in definition or kind == "AttributeMetadata":
        raise _missing(name, kind)
    return definition[name]


def _expanded(
    value: object, clause: expand_clauses.Clause, request: OperationRequest
) -> object:
    kind = _KINDS.get(clause.name, "OptionSetMetadata")
    if isinstance(value, dict):
        return _shape(value, clause.options, request, kind)
    if not isinstance(value, list):
        return None
    if "$filter" in clause.options:
        node = odata.parse_filter(clause.options["$filter"], request.aliases())
        value = [each for each in value if definition_filters.matches(node, each, kind)]
    return [_shape(each, clause.options, request, kind) for each in value]


HANDLERS: dict[str, Handler] = {
    "GET definitions": _definitions,
    "definitions count": _definitions,
    "GET definition": _definitions,
    **dict.fromkeys(
        ("GET column", "GET columns", "GET key", "GET keys", "part", "parts"), _parts
    ),
    "GET relationships": _relationships,
    "GET relationship": _relationships,
}
