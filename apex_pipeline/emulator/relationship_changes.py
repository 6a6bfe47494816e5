"""Makes and removes one-to-many relationships, each with its lookup column.

From "Create and update table relationships using the Web API". Of the cascading rules
those for deletion are carried out; there is no assigning, sharing or merging here.
"""

from typing import Any

from apex_pipeline.emulator import (
    definition_properties,
    definition_reads,
    relationships,
    solutions,
    table_definitions,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.relationships import Relationship
from apex_pipeline.emulator.schema import Table, make_column
from apex_pipeline.emulator.table_definitions import CRM, Definition
from apex_pipeline.emulator.wire import OperationRequest, Response

_DELETIONS = frozenset({"Cascade", "NoCascade", "RemoveLink", "Restrict"})
# Labels of a relationship are those of its lookup and of the associated menu.
_OF_OTHERS = frozenset({"Description", "DisplayName", "Lookup", "MetadataId"})
_KNOWN = (
    _OF_OTHERS
    | relationships.define({"SchemaName": ""}).keys()
    | {
        *("ReferencedEntity", "ReferencedAttribute", "ReferencingEntity"),
        *("ReferencingAttribute", "ReferencedEntityNavigationPropertyName"),
        "ReferencingEntityNavigationPropertyName",
    }
)


def _create(call: Call) -> Response:
    """The lookup's schema name is the navigation property, unless one is named."""
    env, request = call.env, call.request
    call.user.require_plain("prvCreateRelationship", "relationship")
    posted = _posted(request)
    lookup = posted.get("Lookup")
    if not isinstance(lookup, dict):
        raise web_api_errors.invalid_definition("The property Lookup is required.")
    referenced, referencing = (
        _table(env, posted, name) for name in ("ReferencedEntity", "ReferencingEntity")
    )
    schema_name = posted.get("SchemaName")
    if not isinstance(schema_name, str) or "_" not in schema_name:
        raise web_api_errors.invalid_definition(
            "SchemaName is missing or has no prefix."
        )
    if any(each["SchemaName"] == schema_name for each in relationships.every(env)):
        reason = f"A relationship {schema_name} exists already."
        raise web_api_errors.WebApiError(400, "0x80047009", reason)
    kind = {"@odata.type": f"{CRM}LookupAttributeMetadata"}
    column = table_definitions.complete_column(
        {**lookup, **kind, "Targets": [referenced.name]},
        referencing.name,
        len(referencing.columns) + 1,
    )
    name = str(column["LogicalName"])
    if name in referencing.columns:
        raise web_api_errors.column_exists(lookup["SchemaName"])
    definition = _definition(posted, referenced, referencing, column)
    made = make_column(referencing.name, column | {"_relationships": [definition]})
    env.storage.add_column(referencing, made)
    env.save(referencing.with_column(made))
    solutions.file_component(env, request, solutions.RELATIONSHIP, definition)
    return wire.created(request, f"RelationshipDefinitions({definition['MetadataId']})")


def _posted(request: OperationRequest) -> dict[str, Any]:
    posted = request.json("RelationshipDefinitions")
    kind = str(posted.get("@odata.type", "")).removeprefix("#")
    if kind == relationships.MANY_TO_MANY:
        raise web_api_errors.not_emulated(
            "many-to-many relationships of custom tables."
        )
    if kind != relationships.ONE_TO_MANY:
        raise web_api_errors.malformed_payload(
            "RelationshipDefinitions", f"A type named '{kind}' could not be resolved."
        )
    definition_properties.check_posted(posted, _KNOWN, "OneToManyRelationshipMetadata")
    cascade = posted.get("CascadeConfiguration")
    deletion = cascade.get("Delete", "RemoveLink") if isinstance(cascade, dict) else ""
    if cascade is not None and deletion not in _DELETIONS:
        raise web_api_errors.invalid_definition(
            f"CascadeConfiguration.Delete is {deletion}."
        )
    return posted


def _table(env: EmulatedEnvironment, posted: dict[str, Any], name: str) -> Table:
    try:
        return env.table(str(posted.get(name)))
    except KeyError:
        known = str(posted.get(name))
        if "_" not in known and known != "None":
            raise web_api_errors.not_emulated(f"the table {known[:100]}.") from None
        raise web_api_errors.invalid_definition(
            f"{name} {known} does not exist."
        ) from None


def _definition(
    posted: dict[str, Any], referenced: Table, referencing: Table, column: Definition
) -> Definition:
    cascade = {
        **relationships.NO_CASCADE,
        "Delete": "RemoveLink",
        **(posted.get("CascadeConfiguration") or {}),
    }
    given = {
        name: value
        for name, value in posted.items()
        if "@" not in name and name not in _OF_OTHERS and value is not None
    }
    return relationships.define(
        {
            "ReferencedEntityNavigationPropertyName": posted["SchemaName"],
            "ReferencingEntityNavigationPropertyName": column["SchemaName"],
            **given,
        },
        CascadeConfiguration=cascade,
        IsCustomRelationship=True,
        ReferencedAttribute=referenced.primary_key,
        ReferencedEntity=referenced.name,
        ReferencingAttribute=column["LogicalName"],
        ReferencingEntity=referencing.name,
    )


def _delete(call: Call) -> Response:
    call.user.require_plain("prvDeleteRelationship", "relationship")
    listed = list(relationships.every(call.env))
    known = [each.definition for each in listed]
    wanted = definition_reads.find_part(
        known, str(call.place.key), "RelationshipMetadataBase"
    )
    if not wanted["IsCustomRelationship"]:
        reason = f"{wanted['SchemaName']} belongs to the platform."
        raise web_api_errors.invalid_definition(reason)
    drop(call.env, next(each for each in listed if each.definition is wanted))
    return Response(204)


def drop(env: EmulatedEnvironment, found: Relationship) -> None:
    """Remove a relationship with its lookup and the lookup's values."""
    table = env.table(found["ReferencingEntity"])
    env.drop_column(table, table.columns[found.column])


HANDLERS: dict[str, definition_reads.Handler] = {
    "POST relationships": _create,
    "DELETE relationship": _delete,
}
