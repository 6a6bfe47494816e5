"""Writes definitions: tables, columns, alternate keys.

From "Create and update table definitions using the Web API", "Create and update column
definitions using the Web API" and "Define alternate keys for a table". Changes take
effect at once; on the service an update waits for PublishXml, which is accepted here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from xml.parsers import expat

from apex_pipeline.emulator import (
    alternate_keys,
    definition_properties,
    definition_reads,
    relationship_changes,
    relationships,
    solutions,
    table_definitions,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import Table, make_column, new_table
from apex_pipeline.emulator.table_definitions import Definition, complete_column
from apex_pipeline.emulator.wire import OperationRequest, Response

_TABLE_CHANGES = frozenset(
    {
        *("ChangeTrackingEnabled", "Description", "DisplayCollectionName"),
        *("DisplayName", "HasActivities", "HasNotes", "IsAuditEnabled"),
    }
)
_COLUMN_CHANGES = frozenset(
    {
        *("AutoNumberFormat", "Description", "DisplayName", "Format", "FormatName"),
        *("IsAuditEnabled", "MaxLength", "MaxValue", "MinValue", "OptionSet"),
        *("Precision", "RequiredLevel"),
    }
)
_FIRST_OPTION = 100_000_000
_REQUIRED = frozenset(
    {
        *("SchemaName", "DisplayName", "DisplayCollectionName", "OwnershipType"),
        *("HasActivities", "HasNotes"),
    }
)
_MADE_OTHERWISE = frozenset({"Lookup", "Owner", "State", "Status", "Uniqueidentifier"})


def _create_table(call: Call) -> Response:
    table = create_table(call, call.request.json("EntityDefinitions"))
    path = f"EntityDefinitions({table.definition['MetadataId']})"
    return wire.created(call.request, path)


def create_entities(call: Call) -> Response:
    """CreateEntities, as Microsoft's Python SDK sends it: tables with their columns."""
    listed = call.request.json("CreateEntities").get("Entities")
    for posted in definition_properties.objects(listed, "Entities"):
        create_table(call, posted)
    return Response(204)


def publish(call: Call) -> Response:
    """PublishXml and PublishAllXml; changes are live already.

    ParameterXml is `importexportxml` ("PublishXml Action"); the errors are chosen.
    """
    call.user.require_plain("prvPublishCustomization", "publisher")
    if call.place.name == "PublishXml":
        _check_xml(call.request.json("PublishXml").get("ParameterXml"))
    return Response(204)


def _check_xml(text: object) -> None:
    if not isinstance(text, str):
        raise web_api_errors.malformed_payload(
            "PublishXml", "The parameter 'ParameterXml' is missing or not a string."
        )
    parser = expat.ParserCreate()
    roots: list[str] = []
    parser.StartElementHandler = lambda name, _: roots.append(name)
    try:
        parser.Parse(text, True)  # noqa: FBT003 # expat's own signature
    except expat.ExpatError as error:
        raise web_api_errors.invalid_definition(
            f"ParameterXml is not XML: {error}."
        ) from None
    if roots[0] != "importexportxml":
        raise web_api_errors.invalid_definition(f"ParameterXml begins with {roots[0]}.")


def create_table(call: Call, posted: Mapping[str, Any]) -> Table:
    """Make a table with its columns and file it into the solution that is named."""
    env, request = call.env, call.request
    call.user.require_plain("prvCreateEntity", "entity")
    posted = {
        name: value
        for name, value in posted.items()
        if name != "IsCustomEntity" and not name.startswith("_")
    }
    if missing := sorted(_REQUIRED - posted.keys()):
        raise web_api_errors.invalid_definition(
            f"Required properties are missing: {', '.join(missing)}."
        )
    if str(posted["OwnershipType"]) not in {"UserOwned", "OrganizationOwned"}:
        raise web_api_errors.invalid_definition(
            f"OwnershipType {posted['OwnershipType']} is not possible."
        )
    kind = (
        "Activity" if posted.get("IsActivity") else posted.get("TableType", "Standard")
    )
    if kind != "Standard":
        raise web_api_errors.not_emulated(f"{kind} tables.")
    definition_properties.check_table_changes(posted)
    attributes = definition_properties.objects(posted.get("Attributes"), "Attributes")
    primary = [each for each in attributes if each.get("IsPrimaryName")]
    if len(primary) != 1 or table_definitions.column_type(primary[0]) != "String":
        raise web_api_errors.invalid_definition(
            "Exactly one string column must be the primary name."
        )
    table = new_table(posted)
    if len(table.columns) < len(attributes) + 1 or table.name in {
        each.name for each in env.tables
    }:
        raise web_api_errors.table_exists(posted["SchemaName"])
    env.add_table(table)
    solutions.file_component(env, request, solutions.TABLE, table.definition)
    return table


def _delete_table(call: Call) -> Response:
    """A table with its records, and lookups of other tables that refer to it."""
    env, table = call.env, definition_reads.table_of(call)
    call.user.require_plain("prvDeleteEntity", "entity")
    if not table.custom:
        raise web_api_errors.invalid_definition(
            f"{table.name} belongs to the platform."
        )
    for each in list(relationships.every(env)):
        if each["ReferencedEntity"] == table.name != each["ReferencingEntity"]:
            relationship_changes.drop(env, each)
    env.drop_table(table)
    return Response(204)


def _update_table(call: Call) -> Response:
    env, request, table = call.env, call.request, definition_reads.table_of(call)
    call.user.require_plain("prvWriteEntity", "entity")
    body = request.json("EntityDefinitions")
    before = table.definition
    definition_properties.check_posted(
        body, definition_properties.TABLE_NAMES | {"Attributes"}, "EntityMetadata"
    )
    definition_properties.check_table_changes(body)
    if before["ChangeTrackingEnabled"] and body.get("ChangeTrackingEnabled") is False:
        # "Use change tracking": once enabled it cannot be disabled; the code is chosen.
        raise web_api_errors.invalid_definition(
            "Change tracking cannot be disabled once it is enabled."
        )
    for fixed in ("SchemaName", "OwnershipType", "LogicalName"):
        if fixed in body and body[fixed] != before[fixed]:
            raise web_api_errors.invalid_definition(f"{fixed} cannot be changed.")
    changed = _changes(request, body, _TABLE_CHANGES)
    env.save(replace(table, definition=before | changed, plans={}))
    solutions.file_component(env, request, solutions.TABLE, before)
    return Response(204)


def _changes(
    request: OperationRequest, body: Mapping[str, object], changeable: frozenset[str]
) -> Definition:
    """What a body changes; MSCRM.MergeLabels keeps the labels that it leaves empty."""
    changed = table_definitions.changes(body, changeable)
    if request.headers.get("mscrm.mergelabels", "").lower() == "true":
        empty = definition_properties.EMPTY_LABEL
        return {name: value for name, value in changed.items() if value != empty}
    return changed


def _create_column(call: Call, table: Table) -> Response:
    """DuplicateAttributeSchemaName where the column exists; observed code."""
    env, request = call.env, call.request
    call.user.require_plain("prvCreateAttribute", "attribute")
    posted = request.json("Attributes")
    if table_definitions.column_type(posted) in _MADE_OTHERWISE:
        # Lookups come with their relationship, the others with the table.
        raise web_api_errors.invalid_definition(
            f"A {table_definitions.column_type(posted)} column cannot be created by itself."
        )
    definition = complete_column(posted, table.name, len(table.columns) + 1)
    name = str(definition["LogicalName"])
    if name in table.columns:
        raise web_api_errors.column_exists(posted["SchemaName"])
    column = make_column(table.name, definition)
    env.storage.add_column(table, column)
    env.save(table.with_column(column))
    solutions.file_component(env, request, solutions.COLUMN, definition)
    path = f"EntityDefinitions({table.definition['MetadataId']})/Attributes"
    return wire.created(request, f"{path}({definition['MetadataId']})")


def _update_column(call: Call, table: Table) -> Response:
    """A full definition by PUT; the type stays, and text never becomes shorter.

    That the type stays is documented ("Create and edit columns"); that a shorter
    length is refused is chosen.
    """
    env, request = call.env, call.request
    call.user.require_plain("prvWriteAttribute", "attribute")
    before = _column_definition(call, table)
    body = request.json("Attributes")
    if table_definitions.column_type(body) != before["AttributeType"]:
        raise web_api_errors.invalid_definition(
            "The data type of a column cannot be changed."
        )
    changed = complete_column(
        {**before, **_changes(request, body, _COLUMN_CHANGES)},
        table.name,
        int(str(before["ColumnNumber"])),
    )
    if int(str(changed.get("MaxLength", 0))) < int(str(before.get("MaxLength", 0))):
        raise web_api_errors.invalid_definition("MaxLength cannot be made smaller.")
    env.save(table.with_column(make_column(table.name, changed)))
    solutions.file_component(env, request, solutions.COLUMN, before)
    return Response(204)


def _delete_column(call: Call, table: Table) -> Response:
    """Not the primary name, nor a column that an alternate key needs."""
    env = call.env
    call.user.require_plain("prvDeleteAttribute", "attribute")
    name = str(_column_definition(call, table)["LogicalName"])
    column = table.columns[name]
    fixed = name == table.definition["PrimaryNameAttribute"]
    if fixed or not column.definition["IsCustomAttribute"]:
        raise web_api_errors.invalid_definition(f"The column {name} cannot be deleted.")
    env.drop_column(table, column)
    return Response(204)


def insert_option(call: Call) -> Response:
    """InsertOptionValue: one more option of a local choice; answers with its value.

    From "InsertOptionValue Action". A value that is left out is the next one of the
    publisher's range, which begins at 100,000,000 (chosen: of the default publisher).
    """
    env = call.env
    call.user.require_plain("prvWriteAttribute", "attribute")
    body = call.request.json("InsertOptionValue")
    table = definition_reads.find_table(
        env, f"LogicalName='{body.get('EntityLogicalName')}'"
    )
    name = str(body.get("AttributeLogicalName"))
    column = table.columns.get(name)
    if column is None or column.kind != "Picklist":
        raise web_api_errors.invalid_definition(f"{table.name} has no choice {name}.")
    options: Any = column.definition["OptionSet"]
    listed: list[Any] = options["Options"]
    label = table_definitions.labelled("DisplayName", body.get("Label"))
    if label == table_definitions.EMPTY_LABEL:
        raise web_api_errors.invalid_definition("Label is required.")
    values = [int(option["Value"]) for option in listed]
    value = body.get("Value")
    if value is None:
        value = max([_FIRST_OPTION - 1, *values]) + 1
    if type(value) is not int or value in values:
        reason = f"The value {value} is taken, or is not a number."
        raise web_api_errors.WebApiError(400, "0x8004f019", reason)
    added = {"Value": value, "Label": label}
    definition = column.definition | {
        "OptionSet": {**options, "Options": [*listed, added]}
    }
    env.save(table.with_column(make_column(table.name, definition)))
    return call.response(NewOptionValue=value)


def _column_definition(call: Call, table: Table) -> Definition:
    listed = [each.definition for each in table.columns.values()]
    return definition_reads.find_part(listed, str(call.place.key), "AttributeMetadata")


def _of_table(operation: Callable[[Call, Table], Response]) -> definition_reads.Handler:
    return lambda call: operation(call, definition_reads.table_of(call))


HANDLERS: dict[str, definition_reads.Handler] = {
    "POST definitions": _create_table,
    "PUT definition": _update_table,
    "DELETE definition": _delete_table,
    "POST columns": _of_table(_create_column),
    "PUT column": _of_table(_update_column),
    "DELETE column": _of_table(_delete_column),
    "POST keys": _of_table(alternate_keys.create),
    "DELETE key": _of_table(alternate_keys.delete),
}
