"""Properties of definitions, their defaults here, and what each may be.

From the EntityMetadata and AttributeMetadata entity types of the Web API reference. A
default is what the service shows of a new custom table or column.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from apex_pipeline.emulator import web_api_errors

Definition = dict[str, object]

EMPTY_LABEL: Definition = {"LocalizedLabels": [], "UserLocalizedLabel": None}
_TABLES = """
label: Description DisplayCollectionName DisplayName
true: CanTriggerWorkflow IsCustomEntity IsEnabledForCharts IsImportable
 IsOptimisticConcurrencyEnabled IsStateModelAware IsValidForAdvancedFind
false: AutoCreateAccessTeams ChangeTrackingEnabled HasActivities HasNotes IsActivity
 IsActivityParty IsAvailableOffline IsBusinessProcessEnabled IsChildEntity
 IsDocumentManagementEnabled IsIntersect IsKnowledgeManagementEnabled IsLogicalEntity
 IsManaged IsPrivate IsQuickCreateEnabled
null: EntityColor ExternalCollectionName ExternalName PrimaryImageAttribute
yes: CanBeInManyToMany CanBePrimaryEntityInRelationship CanBeRelatedEntityInRelationship
 CanCreateAttributes CanCreateCharts CanCreateForms CanCreateViews IsCustomizable
 IsMappable IsRenameable
no: IsAuditEnabled IsConnectionsEnabled IsDuplicateDetectionEnabled IsValidForQueue
shown: CollectionSchemaName EntitySetName LogicalCollectionName LogicalName MetadataId
 ObjectTypeCode PrimaryIdAttribute PrimaryNameAttribute Privileges SchemaName
"""
_COLUMNS = """
label: Description DisplayName
true: CanBeSecuredForCreate CanBeSecuredForRead CanBeSecuredForUpdate IsCustomAttribute
 IsValidForCreate IsValidForForm IsValidForGrid IsValidForRead IsValidForUpdate
 IsValidODataAttribute
false: IsFilterable IsLogical IsManaged IsPrimaryId IsPrimaryName IsSearchable IsSecured
null: AttributeOf DeprecatedVersion ExternalName LinkedAttributeId SourceType
yes: CanModifyAdditionalSettings IsAuditEnabled IsCustomizable IsRenameable
 IsValidForAdvancedFind
no: IsGlobalFilterEnabled IsSortableEnabled
shown: AttributeType AttributeTypeName ColumnNumber EntityLogicalName LogicalName
 MetadataId RequiredLevel SchemaName
"""
_VALUES = {"label": EMPTY_LABEL, "true": True, "false": False, "null": None}
# Managed properties whose logical name is another than the property's.
_MANAGED = {
    "IsAuditEnabled": "canmodifyauditsettings",
    "IsConnectionsEnabled": "canmodifyconnectionsettings",
    "IsDuplicateDetectionEnabled": "canmodifyduplicatedetectionsettings",
    "IsGlobalFilterEnabled": "canmodifyglobalfiltersettings",
    "IsSortableEnabled": "canmodifyissortablesettings",
    "IsValidForQueue": "canmodifyqueuesettings",
    "RequiredLevel": "canmodifyrequirementlevelsettings",
}


def managed(name: str, value: object) -> Definition:
    logical = _MANAGED.get(name, name.lower())
    return {"Value": value, "CanBeChanged": True, "ManagedPropertyLogicalName": logical}


def _read(text: str) -> tuple[Definition, frozenset[str]]:
    """Defaults, and the names of all that is shown."""
    listed = dict(re.findall(r"^(\w+): ((?:[^:]|\n )*)$", text, re.MULTILINE))
    names = {kind: found.split() for kind, found in listed.items()}
    defaults: Definition = {"IntroducedVersion": "1.0"}
    for kind, value in _VALUES.items():
        defaults |= dict.fromkeys(names[kind], value)
    for kind in ("yes", "no"):
        defaults |= {name: managed(name, kind == "yes") for name in names[kind]}
    return defaults, frozenset(defaults) | frozenset(names["shown"])


TABLE_DEFAULTS, TABLE_NAMES = _read(_TABLES)
TABLE_DEFAULTS |= {
    "ActivityTypeMask": 0,
    "OwnershipType": "UserOwned",
    "TableType": "Standard",
}
TABLE_NAMES |= frozenset(TABLE_DEFAULTS)
COLUMN_DEFAULTS, COLUMN_NAMES = _read(_COLUMNS)
COLUMN_DEFAULTS["RequiredLevel"] = managed("RequiredLevel", "None")


RELATIONSHIP = "RelationshipMetadataBase"
_OF_RELATIONSHIPS = frozenset(
    {
        *("HasChanged", "IntroducedVersion", "IsCustomizable", "IsCustomRelationship"),
        *("IsManaged", "IsValidForAdvancedFind", "MetadataId", "RelationshipType"),
        *("SchemaName", "SecurityTypes"),
    }
)


def belongs(name: str, kind: str) -> bool:
    """Whether a property is there without a cast."""
    if kind == "AttributeMetadata":
        return name in COLUMN_NAMES
    return kind != RELATIONSHIP or name in _OF_RELATIONSHIPS


def missing(name: str, kind: str) -> web_api_errors.WebApiError:
    """A property that definitions do not have here; the service has more of them."""
    return web_api_errors.not_emulated(f"the property {name} of {kind}.")


def check_posted(
    posted: Mapping[str, object], known: frozenset[str], kind: str
) -> None:
    """A definition may hold what is known of its kind, annotations and our own marks."""
    for name in posted:
        if "@" not in name and not name.startswith("_") and name not in known:
            raise missing(name, kind)


_WIDEST = 10**11


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """A JSON collection of objects."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise web_api_errors.malformed_payload(
            what, f"{what} is not a collection of objects."
        )
    return value


def check_table_changes(body: Mapping[str, object]) -> None:
    """The switches that can be changed have to be switches."""
    tracking = body.get("ChangeTrackingEnabled", False)
    audit = body.get("IsAuditEnabled", {"Value": False})
    if not isinstance(tracking, bool) or not (
        isinstance(audit, dict) and isinstance(audit.get("Value"), bool)
    ):
        raise web_api_errors.invalid_definition(
            "ChangeTrackingEnabled and IsAuditEnabled.Value must be true or false."
        )


def check_column(kind: str, definition: Mapping[str, object]) -> None:
    """Types, and the limits of "Create and edit columns".

    4,000 characters (multiline text: 1,048,576), ten places, 10^11.
    """
    for flag in ("IsPrimaryName", "IsValidForCreate", "IsValidForUpdate"):
        if not isinstance(definition.get(flag), bool):
            raise web_api_errors.invalid_definition(f"{flag} must be true or false.")
    if kind in {"String", "Memo"}:
        most = 4000 if kind == "String" else 2**20
        _check_whole(definition, "MaxLength", 1, most)
    elif kind in {"Decimal", "Money", "Double"}:
        _check_whole(definition, "Precision", 0, 5 if kind == "Double" else 10)
        _check_range(definition, _WIDEST)
    elif kind in {"Integer", "BigInt"}:
        bits = 31 if kind == "Integer" else 63
        _check_whole(definition, "MinValue", -(2**bits), 2**bits - 1)
        _check_whole(definition, "MaxValue", -(2**bits), 2**bits - 1)
    elif kind == "DateTime":
        behavior = definition["DateTimeBehavior"]
        known = {"UserLocal", "DateOnly", "TimeZoneIndependent"}
        if not isinstance(behavior, dict) or str(behavior.get("Value")) not in known:
            raise web_api_errors.invalid_definition(
                f"DateTimeBehavior must be one of {', '.join(sorted(known))}."
            )
    elif kind in {"Picklist", "State", "Status", "Boolean"}:
        _check_options(definition["OptionSet"])


def _check_whole(
    definition: Mapping[str, object], name: str, least: int, most: int
) -> None:
    number = definition.get(name)
    if type(number) is not int or not least <= number <= most:
        raise web_api_errors.invalid_definition(
            f"{name} must be {least} to {most}, not {number}."
        )


def _check_range(definition: Mapping[str, object], widest: int) -> None:
    for name in ("MinValue", "MaxValue"):
        number = definition[name]
        if type(number) not in {int, float, Decimal}:
            raise web_api_errors.invalid_definition(f"{name} must be a number.")
        if abs(Decimal(str(number))) > widest:
            raise web_api_errors.invalid_definition(
                f"{name} must be within {widest:,}."
            )


def _check_options(given: object) -> None:
    """Null, or options that each have a number and a label."""
    if given is None:
        return
    if not isinstance(given, dict):
        raise web_api_errors.invalid_definition("OptionSet must be an object.")
    listed = given.get("Options") or [
        each for each in (given.get("TrueOption"), given.get("FalseOption")) if each
    ]
    for option in objects(listed, "Options"):
        labels = (option.get("Label") or {}).get("LocalizedLabels")
        if type(option.get("Value")) is not int or not objects(labels, "Label"):
            raise web_api_errors.invalid_definition(
                "Each option needs a Value and a Label."
            )
