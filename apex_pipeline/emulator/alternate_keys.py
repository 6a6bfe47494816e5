"""Alternate keys: what may be one, and how one is made and removed."""

from dataclasses import replace
from uuid import uuid4

from apex_pipeline.emulator import (
    definition_reads,
    table_definitions,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import Table, make_key
from apex_pipeline.emulator.table_definitions import Definition
from apex_pipeline.emulator.wire import Response

_MOST_KEYS = 10
_MOST_KEY_COLUMNS = 16
_MOST_KEY_BYTES = 900
_KEY_TYPES = {"String": 0, "Integer": 4, "Decimal": 13, "DateTime": 8, "Lookup": 16}
_KEY_TYPES["Picklist"] = 4


def create(call: Call, table: Table) -> Response:
    """Limits of "Define alternate keys": ten keys, sixteen columns, 900 bytes."""
    env, request = call.env, call.request
    call.user.require_plain("prvWriteEntity", "entity")
    posted = request.json("Keys")
    schema_name = posted.get("SchemaName")
    names = posted.get("KeyAttributes")
    if not isinstance(schema_name, str) or not isinstance(names, list) or not names:
        raise web_api_errors.invalid_definition(
            "SchemaName and KeyAttributes are required."
        )
    columns = [str(each).lower() for each in names]
    _check_key(table, schema_name, columns)
    definition: Definition = {
        "IsCustomizable": {"Value": True, "CanBeChanged": True},
        "IsManaged": False,
        "DisplayName": table_definitions.labelled(
            "DisplayName", posted.get("DisplayName")
        ),
        "SchemaName": schema_name,
        "KeyAttributes": columns,
        "LogicalName": schema_name.lower(),
        "EntityLogicalName": table.name,
        "EntityKeyIndexStatus": "Pending",
        "MetadataId": table_definitions.metadata_id(
            table.name, "key", schema_name, str(uuid4())
        ),
        "AsyncJob": str(uuid4()),
        "_requested_at": env.clock.now(),
    }
    env.save(replace(table, keys=(*table.keys, make_key(definition)), plans={}))
    path = f"EntityDefinitions(LogicalName='{table.name}')/Keys"
    return wire.created(request, f"{path}({definition['MetadataId']})")


def _check_key(table: Table, schema_name: str, names: list[str]) -> None:
    if len(table.keys) >= _MOST_KEYS or len(names) > _MOST_KEY_COLUMNS:
        raise web_api_errors.invalid_definition(
            f"A table has at most {_MOST_KEYS} keys of {_MOST_KEY_COLUMNS} columns."
        )
    if any(schema_name.lower() == each.name for each in table.keys) or any(
        set(names) == set(each.columns) for each in table.keys
    ):
        raise web_api_errors.invalid_definition(
            f"An alternate key {schema_name} or one like it exists already."
        )
    size = 0
    for name in names:
        column = table.columns.get(name)
        if column is None:
            raise web_api_errors.invalid_definition(
                f"The column {name} does not exist on {table.name}."
            )
        if column.kind not in _KEY_TYPES:
            raise web_api_errors.invalid_definition(
                f"A {column.kind} column cannot be part of a key."
            )
        length = column.definition.get("MaxLength", 0)
        size += _KEY_TYPES[column.kind] or 2 * int(str(length))
    if size > _MOST_KEY_BYTES:
        raise web_api_errors.invalid_definition(
            f"The key would take {size} bytes; {_MOST_KEY_BYTES} are allowed."
        )


def delete(call: Call, table: Table) -> Response:
    """Remove a key with its index; its values no longer need to be unique."""
    env = call.env
    call.user.require_plain("prvWriteEntity", "entity")
    listed = [each.definition for each in table.keys]
    found = definition_reads.find_part(listed, str(call.place.key), "EntityKeyMetadata")
    removed = next(each for each in table.keys if each.definition is found)
    env.storage.drop_index(table, removed)
    kept = tuple(each for each in table.keys if each is not removed)
    env.save(replace(table, keys=kept, plans={}))
    return Response(204)
