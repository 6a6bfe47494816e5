"""Properties of definitions, and their defaults here.

From the EntityMetadata and AttributeMetadata entity types of the Web API reference. A
default is what the service shows of a new custom table or column.
"""

import re
from collections.abc import Mapping

from apex_pipeline.emulator import errors

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
    """A managed property."""
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


def missing(name: str, kind: str) -> errors.WebApiError:
    """A property that definitions do not have here; the service has more of them."""
    return errors.not_emulated(f"the property {name} of {kind}.")


def check_posted(
    posted: Mapping[str, object], known: frozenset[str], kind: str
) -> None:
    """A definition may hold what is known of its kind, annotations and our own marks."""
    for name in posted:
        if "@" not in name and not name.startswith("_") and name not in known:
            raise missing(name, kind)
