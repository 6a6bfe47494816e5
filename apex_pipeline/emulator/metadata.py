"""EntityDefinitions: what tables, columns and keys there are.

From "Query table definitions using the Web API": `$select`, `$filter` and `$expand`
work, there are no pages, and a column's typed properties need a cast.
"""

import re
from collections.abc import Mapping
from typing import Any

from apex_pipeline.emulator import errors, filters, odata, wire
from apex_pipeline.emulator.definitions import (
    COMMON_PROPERTIES,
    CRM,
    Definition,
    privileges,
    public,
)
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.wire import Request, Response

_KEYED = re.compile(r"(\w+)(?:\((.*)\))?").fullmatch
_COLLECTIONS = ("Attributes", "Keys", "Privileges")
# Privileges is a property, which $select names (EntityMetadata, Web API reference).
_NAVIGATION = ("Attributes", "Keys")


def read(env: Environment, request: Request, segments: list[str]) -> Response:
    """Answer a GET below EntityDefinitions.

    Raises:
        WebApiError: There is no such definition, or the query asks for something else.
    """
    options = request.options()
    base = f"{request.api}/$metadata#EntityDefinitions"
    predicate = _predicate(segments[0])
    if predicate is None:
        found = [table_view(table) for table in env.tables]
        return _collection(found, options, base, "EntityMetadata")
    table = find_table(env, predicate)
    if len(segments) == 1:
        shown = _shape(table_view(table), options, "EntityMetadata")
        return wire.json_response({"@odata.context": f"{base}/$entity", **shown})
    return _read_part(table, segments[1:], options, base, predicate)


def find_table(env: Environment, predicate: str) -> Table:
    """The table of `LogicalName='x'` or of a MetadataId.

    Raises:
        WebApiError: There is none; the text is observed.
    """
    parsed = odata.parse_key(predicate)
    if isinstance(parsed, odata.Literal):
        for table in env.tables:
            if table.definition["MetadataId"] == parsed.text.lower():
                return table
        raise errors.WebApiError(
            404, "0x80040217", f"Could not find an entity with id {parsed.text}"
        )
    if list(parsed) != ["LogicalName"]:
        raise errors.key_not_declared("EntityMetadata")
    try:
        return env.table(parsed["LogicalName"].text)
    except KeyError:
        raise errors.WebApiError(
            404,
            "0x80060888",
            "Could not find an entity with name "
            f"{parsed['LogicalName'].text} and objectTypeCode -1.",
        ) from None


def table_view(table: Table) -> Definition:
    """A table's definition with its columns, keys and privileges."""
    return {
        **public(table.definition),
        "Attributes": [each.definition for each in table.columns.values()],
        "Keys": [public(each.definition) for each in table.keys],
        "Privileges": privileges(table.definition),
    }


def find_part(parts: list[Definition], predicate: str, kind: str) -> Definition:
    """The column or key of `LogicalName='x'` or of a MetadataId.

    Raises:
        WebApiError: There is none.
    """
    parsed = odata.parse_key(predicate)
    field, literal = (
        ("MetadataId", parsed)
        if isinstance(parsed, odata.Literal)
        else next(iter(parsed.items()))
    )
    for part in parts:
        if str(part.get(field)).lower() == literal.text.lower():
            return part
    raise errors.WebApiError(
        404, "0x80060888", f"Could not find {kind} with {field} {literal.text}."
    )


def predicate_of(segment: str) -> tuple[str, str | None]:
    """`Attributes(LogicalName='x')` as its name and its key."""
    match = _KEYED(segment)
    if match is None:
        raise errors.no_such_segment(segment)
    return match[1], match[2]


def _predicate(segment: str) -> str | None:
    return predicate_of(segment)[1]


def _read_part(
    table: Table,
    segments: list[str],
    options: dict[str, str],
    base: str,
    predicate: str,
) -> Response:
    name, key = predicate_of(segments[0])
    if name not in _COLLECTIONS:
        raise errors.no_such_segment(name)
    parts: list[Any] = table_view(table)[name]  # type: ignore[assignment]  # a list
    kind = {"Attributes": "AttributeMetadata", "Keys": "EntityKeyMetadata"}.get(
        name, "SecurityPrivilegeMetadata"
    )
    context = f"{base}({predicate})/{name}"
    if len(segments) == 2:
        kind = segments[1].removeprefix(CRM)
        context += f"/{segments[1]}"
        parts = [each for each in parts if each["@odata.type"] == f"#{CRM}{kind}"]
        if not kind.endswith("AttributeMetadata"):
            raise errors.no_such_segment(segments[1])
    elif len(segments) > 2:
        raise errors.not_emulated("this path below EntityDefinitions.")
    if key is None:
        return _collection(parts, options, context, kind)
    shown = _shape(find_part(parts, key, kind), options, kind)
    return wire.json_response({"@odata.context": f"{context}/$entity", **shown})


def _collection(
    found: list[Definition], options: dict[str, str], context: str, kind: str
) -> Response:
    if options.get("$filter"):
        aliases = {name: text for name, text in options.items() if name[0] == "@"}
        node = odata.parse_filter(options["$filter"], aliases)
        found = [each for each in found if filters.matches(node, each)]
    shown = [_shape(each, options, kind) for each in found]
    return wire.json_response({"@odata.context": context, "value": shown})


def _shape(definition: Definition, options: Mapping[str, str], kind: str) -> Definition:
    """Apply `$select` and `$expand`; MetadataId and the derived type are always shown.

    Raises:
        WebApiError: A property is unknown, or belongs to a derived type and no cast
            was made.
    """
    names = [each.strip() for each in options.get("$select", "").split(",") if each]
    expanded = dict(odata.parse_expand(options.get("$expand", "")))
    own = {name: value for name, value in definition.items() if name not in _NAVIGATION}
    for name in names:
        if name not in own or (
            kind == "AttributeMetadata" and name not in COMMON_PROPERTIES
        ):
            raise errors.no_such_property(name, kind)
    always = {"@odata.type", "MetadataId", "PrivilegeId"}
    shown = {
        name: value
        for name, value in own.items()
        if not names or name in names or name in always
    }
    if kind not in {"AttributeMetadata", "EntityMetadata"}:
        shown.pop("@odata.type", None)
    if not expanded and "OptionSet" in shown and "OptionSet" not in names:
        # A navigation property: shown when it is expanded.
        shown.pop("OptionSet")
    for name, inner in expanded.items():
        if name not in definition:
            raise errors.no_such_property(name, kind)
        shown[name] = _expanded(definition[name], inner, name)
    return shown


def _expanded(value: object, options: Mapping[str, str], name: str) -> object:
    kind = "AttributeMetadata" if name == "Attributes" else name
    if isinstance(value, list):
        return [_shape(each, options, kind) for each in value]
    return _shape(value, options, kind) if isinstance(value, dict) else value
