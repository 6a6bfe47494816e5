"""Makes, changes and removes one-to-many relationships, each with its lookup column.

From "Create and update table relationships using the Web API". Of the cascading rules
those for deletion are carried out; there is no assigning, sharing or merging here.
"""

from dataclasses import replace
from typing import Any

from apex_pipeline.emulator import (
    definition_properties,
    definitions,
    errors,
    metadata,
    relationships,
    solutions,
    wire,
)
from apex_pipeline.emulator.definitions import CRM, Definition
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.relationships import Relationship
from apex_pipeline.emulator.schema import Table, make_column
from apex_pipeline.emulator.wire import Request, Response

RELATIONSHIP = 10
_DELETIONS = frozenset({"Cascade", "NoCascade", "RemoveLink", "Restrict"})
_CHANGES = frozenset(
    {"AssociatedMenuConfiguration", "CascadeConfiguration", "IsValidForAdvancedFind"}
)
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
        raise errors.invalid_definition("The property Lookup is required.")
    referenced, referencing = (
        _table(env, posted, name) for name in ("ReferencedEntity", "ReferencingEntity")
    )
    schema_name = posted.get("SchemaName")
    if not isinstance(schema_name, str) or "_" not in schema_name:
        raise errors.invalid_definition("SchemaName is missing or has no prefix.")
    if any(each["SchemaName"] == schema_name for each in relationships.every(env)):
        raise errors.WebApiError(
            400, "0x80047009", f"A relationship {schema_name} exists already."
        )
    kind = {"@odata.type": f"{CRM}LookupAttributeMetadata"}
    column = definitions.complete_column(
        {**lookup, **kind, "Targets": [referenced.name]},
        referencing.name,
        len(referencing.columns) + 1,
    )
    name = str(column["LogicalName"])
    if name in referencing.columns:
        raise errors.WebApiError(
            400,
            "0x80047013",
            f"An attribute with the specified name {lookup['SchemaName']} already"
            " exists. Specify a unique name.",
        )
    definition = _definition(posted, referenced, referencing, column)
    made = make_column(referencing.name, column | {"_relationships": [definition]})
    env.storage.add_column(referencing, made)
    columns = {**referencing.columns, name: made}
    env.save(replace(referencing, columns=columns, plans={}))
    identity = str(definition["MetadataId"])
    solutions.file_component(env, request, RELATIONSHIP, identity)
    return wire.created(request, f"RelationshipDefinitions({identity})")


def _posted(request: Request) -> dict[str, Any]:
    posted = request.json("RelationshipDefinitions")
    kind = str(posted.get("@odata.type", "")).removeprefix("#")
    if kind == relationships.MANY_TO_MANY:
        raise errors.not_emulated("many-to-many relationships of custom tables.")
    if kind != relationships.ONE_TO_MANY:
        raise errors.malformed_payload(
            "RelationshipDefinitions", f"A type named '{kind}' could not be resolved."
        )
    definition_properties.check_posted(posted, _KNOWN, "OneToManyRelationshipMetadata")
    cascade = posted.get("CascadeConfiguration")
    deletion = cascade.get("Delete", "RemoveLink") if isinstance(cascade, dict) else ""
    if cascade is not None and deletion not in _DELETIONS:
        raise errors.invalid_definition(f"CascadeConfiguration.Delete is {deletion}.")
    return posted


def _table(env: Environment, posted: dict[str, Any], name: str) -> Table:
    try:
        return env.table(str(posted.get(name)))
    except KeyError:
        known = str(posted.get(name))
        if "_" not in known and known != "None":
            raise errors.not_emulated(f"the table {known[:100]}.") from None
        raise errors.invalid_definition(f"{name} {known} does not exist.") from None


def _definition(
    posted: dict[str, Any], referenced: Table, referencing: Table, column: Definition
) -> Definition:
    cascade = {
        **dict.fromkeys(
            ("Assign", "Merge", "Reparent", "Share", "Unshare"), "NoCascade"
        ),
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


def _found(call: Call) -> Relationship:
    listed = list(relationships.every(call.env))
    found = metadata.find_part(
        [each.definition for each in listed],
        str(call.place.key),
        "RelationshipMetadataBase",
    )
    return next(each for each in listed if each.definition is found)


def _update(call: Call) -> Response:
    """A full definition by PUT; names and tables stay."""
    env = call.env
    call.user.require_plain("prvWriteRelationship", "relationship")
    before = _found(call)
    posted = _posted(call.request)
    _require_custom(before)
    for name in ("SchemaName", "ReferencedEntity", "ReferencingEntity"):
        if name in posted and posted[name] != before[name]:
            raise errors.invalid_definition(f"{name} cannot be changed.")
    changed = {name: posted[name] for name in _CHANGES if posted.get(name) is not None}
    table = env.table(before["ReferencingEntity"])
    column = table.columns[before.column]
    definition = column.definition | {"_relationships": [before.definition | changed]}
    columns = {**table.columns, column.name: make_column(table.name, definition)}
    env.save(replace(table, columns=columns, plans={}))
    solutions.file_component(env, call.request, RELATIONSHIP, before["MetadataId"])
    return Response(204)


def _delete(call: Call) -> Response:
    call.user.require_plain("prvDeleteRelationship", "relationship")
    found = _found(call)
    _require_custom(found)
    drop(call.env, found)
    return Response(204)


def _require_custom(found: Relationship) -> None:
    if not found.definition["IsCustomRelationship"]:
        raise errors.invalid_definition(
            f"{found['SchemaName']} belongs to the platform."
        )


def drop(env: Environment, found: Relationship) -> None:
    """Remove a relationship with its lookup and the lookup's values."""
    table = env.table(found["ReferencingEntity"])
    if any(found.column in each.columns for each in table.keys):
        raise errors.still_needed(found.column)
    env.storage.drop_column(table, table.columns[found.column])
    columns = {
        name: each for name, each in table.columns.items() if name != found.column
    }
    env.save(replace(table, columns=columns, plans={}))


HANDLERS: dict[str, metadata.Handler] = {
    "POST relationships": _create,
    "PUT relationship": _update,
    "DELETE relationship": _delete,
}
