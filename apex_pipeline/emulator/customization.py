"""Writes definitions: tables, columns, alternate keys.

From "Create and update table definitions using the Web API", "Create and update column
definitions using the Web API" and "Define alternate keys for a table". Changes take
effect at once; on the service an update waits for PublishXml, which is accepted here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from apex_pipeline.emulator import (
    alternate_keys,
    definition_checks,
    definitions,
    errors,
    metadata,
    solutions,
    wire,
)
from apex_pipeline.emulator.definitions import Definition, complete_column
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.errors import WebApiError
from apex_pipeline.emulator.schema import Table, make_column, new_table
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.wire import Request, Response

_TABLE_CHANGES = frozenset(
    {
        "ChangeTrackingEnabled",
        "Description",
        "DisplayCollectionName",
        "DisplayName",
        "HasActivities",
        "HasNotes",
        "IsAuditEnabled",
    }
)
_COLUMN_CHANGES = frozenset(
    {
        "Description",
        "DisplayName",
        "Format",
        "FormatName",
        "IsAuditEnabled",
        "MaxLength",
        "MaxValue",
        "MinValue",
        "OptionSet",
        "Precision",
        "RequiredLevel",
    }
)


def write(
    env: Environment, user: Principal, request: Request, segments: list[str]
) -> Response:
    """Answer a POST, PUT or DELETE below EntityDefinitions.

    Raises:
        WebApiError: It is refused; nothing was changed.
    """
    name, predicate = metadata.predicate_of(segments[0])
    del name
    if predicate is None:
        if request.method != "POST":
            raise errors.method_not_allowed(request.method)
        table = create_table(env, user, request.json("EntityDefinitions"), request)
        return wire.created(
            request, f"EntityDefinitions({table.definition['MetadataId']})"
        )
    table = metadata.find_table(env, predicate)
    if len(segments) == 1:
        return _write_table(env, user, request, table)
    if len(segments) > 2:
        raise errors.not_emulated("writing this path below EntityDefinitions.")
    collection, key = metadata.predicate_of(segments[1])
    operation = _WRITES.get((collection, request.method, key is not None))
    if operation is None:
        raise errors.method_not_allowed(request.method)
    return operation(env, user, request, table, key or "")


def create_entities(env: Environment, user: Principal, request: Request) -> Response:
    """CreateEntities, as Microsoft's Python SDK sends it: tables with their columns."""
    listed = request.json("CreateEntities").get("Entities")
    for posted in definition_checks.objects(listed, "Entities"):
        create_table(env, user, posted, request)
    return Response(204)


def publish(env: Environment, user: Principal, request: Request) -> Response:
    """PublishXml and PublishAllXml; changes are live already."""
    del env
    if request.method != "POST":
        raise errors.method_not_allowed(request.method)
    user.require_plain("prvPublishCustomization", "publisher")
    return Response(204)


def create_table(
    env: Environment, user: Principal, posted: Mapping[str, Any], request: Request
) -> Table:
    """Make a table with its columns and file it into the solution that is named.

    Raises:
        WebApiError: It exists, lacks something required, or the solution is unknown.
    """
    user.require_plain("prvCreateEntity", "entity")
    posted = {
        name: value
        for name, value in posted.items()
        if name != "IsCustomEntity" and not name.startswith("_")
    }
    required = {"SchemaName", "DisplayName", "DisplayCollectionName", "OwnershipType"}
    if missing := sorted(required - posted.keys()):
        raise errors.invalid_definition(
            f"Required properties are missing: {', '.join(missing)}."
        )
    if str(posted["OwnershipType"]) not in {"UserOwned", "OrganizationOwned"}:
        raise errors.invalid_definition(
            f"OwnershipType {posted['OwnershipType']} is not possible."
        )
    if posted.get("TableType", "Standard") != "Standard":
        raise errors.not_emulated(f"{posted['TableType']} tables.")
    definition_checks.check_table_changes(posted)
    attributes = definition_checks.objects(posted.get("Attributes"), "Attributes")
    primary = [each for each in attributes if each.get("IsPrimaryName")]
    if len(primary) != 1 or definitions.column_type(primary[0]) != "String":
        raise errors.invalid_definition(
            "Exactly one string column must be the primary name."
        )
    table = new_table(posted)
    if len(table.columns) < len(attributes) + 1 or table.name in {
        each.name for each in env.tables
    }:
        raise WebApiError(
            400,
            "0x80044363",
            f"An entity with the specified name {posted['SchemaName']} already exists."
            " Specify a unique name.",
        )
    env.add_table(table)
    solutions.file_component(
        env, request, solutions.TABLE, str(table.definition["MetadataId"])
    )
    return table


def _write_table(
    env: Environment, user: Principal, request: Request, table: Table
) -> Response:
    if request.method == "DELETE":
        user.require_plain("prvDeleteEntity", "entity")
        if not table.definition["IsCustomEntity"]:
            raise errors.invalid_definition(f"{table.name} belongs to the platform.")
        env.drop_table(table)
        return Response(204)
    if request.method != "PUT":
        raise errors.method_not_allowed(request.method)
    user.require_plain("prvWriteEntity", "entity")
    body = request.json("EntityDefinitions")
    before = table.definition
    definition_checks.check_table_changes(body)
    if before["ChangeTrackingEnabled"] and body.get("ChangeTrackingEnabled") is False:
        # "Use change tracking": once enabled it cannot be disabled; the code is chosen.
        raise errors.invalid_definition(
            "Change tracking cannot be disabled once it is enabled."
        )
    for fixed in ("SchemaName", "OwnershipType", "LogicalName"):
        if fixed in body and body[fixed] != before[fixed]:
            raise errors.invalid_definition(f"{fixed} cannot be changed.")
    changed = definitions.changes(body, _TABLE_CHANGES)
    env.save(replace(table, definition=before | changed, plans={}))
    return Response(204)


def _create_column(
    env: Environment, user: Principal, request: Request, table: Table, key: str
) -> Response:
    """DuplicateAttributeSchemaName where the column exists; observed code."""
    del key
    user.require_plain("prvCreateAttribute", "attribute")
    posted = request.json("Attributes")
    definition = complete_column(posted, table.name, len(table.columns) + 1)
    name = str(definition["LogicalName"])
    if name in table.columns:
        raise WebApiError(
            400,
            "0x80047013",
            f"An attribute with the specified name {posted['SchemaName']} already"
            " exists. Specify a unique name.",
        )
    column = make_column(table.name, definition)
    env.storage.add_column(table, column)
    env.save(replace(table, columns={**table.columns, name: column}, plans={}))
    solutions.file_component(
        env, request, solutions.COLUMN, str(definition["MetadataId"])
    )
    path = f"EntityDefinitions({table.definition['MetadataId']})/Attributes"
    return wire.created(request, f"{path}({definition['MetadataId']})")


def _update_column(
    env: Environment, user: Principal, request: Request, table: Table, key: str
) -> Response:
    """A full definition by PUT; the type stays, and text never becomes shorter.

    That the type stays is documented ("Create and edit columns"); that a shorter
    length is refused is chosen.
    """
    user.require_plain("prvWriteAttribute", "attribute")
    before = _column_definition(table, key)
    body = request.json("Attributes")
    if definitions.column_type(body) != before["AttributeType"]:
        raise errors.invalid_definition("The data type of a column cannot be changed.")
    changed = complete_column(
        {**before, **definitions.changes(body, _COLUMN_CHANGES)},
        table.name,
        int(str(before["ColumnNumber"])),
    )
    if int(str(changed.get("MaxLength", 0))) < int(str(before.get("MaxLength", 0))):
        raise errors.invalid_definition("MaxLength cannot be made smaller.")
    name = str(before["LogicalName"])
    columns = {**table.columns, name: make_column(table.name, changed)}
    env.save(replace(table, columns=columns, plans={}))
    return Response(204)


def _delete_column(
    env: Environment, user: Principal, request: Request, table: Table, key: str
) -> Response:
    """Not the primary name, nor a column that an alternate key needs."""
    del request
    user.require_plain("prvDeleteAttribute", "attribute")
    name = str(_column_definition(table, key)["LogicalName"])
    column = table.columns[name]
    fixed = name == table.definition["PrimaryNameAttribute"]
    if fixed or not column.definition["IsCustomAttribute"]:
        raise errors.invalid_definition(f"The column {name} cannot be deleted.")
    if any(name in each.columns for each in table.keys):
        raise WebApiError(
            400,
            "0x8004f01f",
            f"The {name} component cannot be deleted because it is referenced by 1"
            " other component: an alternate key.",
        )
    env.storage.drop_column(table, column)
    columns = {each: table.columns[each] for each in table.columns if each != name}
    env.save(replace(table, columns=columns, plans={}))
    return Response(204)


def _column_definition(table: Table, key: str) -> Definition:
    listed = [each.definition for each in table.columns.values()]
    return metadata.find_part(listed, key, "AttributeMetadata")


_Write = Callable[[Environment, Principal, Request, Table, str], Response]

_WRITES: dict[tuple[str, str, bool], _Write] = {
    ("Attributes", "POST", False): _create_column,
    ("Attributes", "PUT", True): _update_column,
    ("Attributes", "DELETE", True): _delete_column,
    ("Keys", "POST", False): alternate_keys.create,
    ("Keys", "DELETE", True): alternate_keys.delete,
}
