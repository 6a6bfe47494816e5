"""Completes posted table, column and key definitions as the service does.

A definition is the JSON object that EntityDefinitions shows. Property names and
defaults are from Microsoft Learn, "Create and update table definitions using the Web
API" and "Create and update column definitions using the Web API".
"""

import re
from collections.abc import Mapping
from uuid import NAMESPACE_URL, UUID, uuid5

from apex_pipeline.emulator import definition_checks, errors

Definition = dict[str, object]

CRM = "Microsoft.Dynamics.CRM."
_NAME = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII).fullmatch

# Attribute types that the emulator stores, with what each has beside the common part.
TYPES: dict[str, Definition] = {
    "String": {"MaxLength": 100, "Format": "Text", "FormatName": {"Value": "Text"}},
    "Memo": {"MaxLength": 2000, "Format": "TextArea"},
    "Integer": {"MinValue": -(2**31), "MaxValue": 2**31 - 1, "Format": "None"},
    "BigInt": {"MinValue": -(2**63), "MaxValue": 2**63 - 1},
    # Left out, the range becomes 0 to 1,000,000,000: observed in several tools.
    "Decimal": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2},
    "Money": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2},
    "Double": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2},
    "Boolean": {"DefaultValue": False, "OptionSet": None},
    "DateTime": {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}},
    "Picklist": {"OptionSet": None},
    "State": {"OptionSet": None},
    "Status": {"OptionSet": None},
    "Lookup": {"Targets": []},
    "Owner": {"Targets": ["systemuser", "team"]},
    "Uniqueidentifier": {},
}
_COMMON: Definition = {
    "AttributeOf": None,
    "Description": None,
    "DisplayName": None,
    "IsAuditEnabled": {
        "Value": True,
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyauditsettings",
    },
    "IsCustomAttribute": True,
    "IsLogical": False,
    "IsManaged": False,
    "IsPrimaryId": False,
    "IsPrimaryName": False,
    "IsSecured": False,
    "IsValidForCreate": True,
    "IsValidForRead": True,
    "IsValidForUpdate": True,
    "RequiredLevel": {
        "Value": "None",
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
    },
}
COMMON_PROPERTIES = frozenset(_COMMON) | {
    "AttributeType",
    "AttributeTypeName",
    "ColumnNumber",
    "EntityLogicalName",
    "LogicalName",
    "MetadataId",
    "SchemaName",
}
_TABLE_DEFAULTS: Definition = {
    "Description": None,
    "DisplayName": None,
    "DisplayCollectionName": None,
    "ChangeTrackingEnabled": False,
    "HasActivities": False,
    "HasNotes": False,
    "IsActivity": False,
    "IsAuditEnabled": {
        "Value": False,
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyauditsettings",
    },
    "IsCustomEntity": True,
    "IsManaged": False,
    "IsOptimisticConcurrencyEnabled": True,
    "IsPrivate": False,
    "IsIntersect": False,
    "OwnershipType": "UserOwned",
    "TableType": "Standard",
}
PRIVILEGE_TYPES = (
    "Create",
    "Read",
    "Write",
    "Delete",
    "Assign",
    "Share",
    "Append",
    "AppendTo",
)


def label(text: str) -> Definition:
    """A Label with one English text, as read back from the service."""
    localized = {
        "Label": text,
        "LanguageCode": 1033,
        "IsManaged": False,
        "MetadataId": str(uuid5(NAMESPACE_URL, f"label:{text}")),
        "HasChanged": None,
    }
    return {"LocalizedLabels": [localized], "UserLocalizedLabel": localized}


def metadata_id(*names: str) -> str:
    """A stable id for something that is known by name."""
    return str(uuid5(NAMESPACE_URL, "dataverse-emulator:" + "/".join(names)))


def complete_column(
    posted: Mapping[str, object], table: str, number: int
) -> Definition:
    """The whole definition of a column.

    Raises:
        WebApiError: It names no type or none that the emulator stores, or no name.
    """
    kind = column_type(posted)
    schema_name = posted.get("SchemaName")
    if not isinstance(schema_name, str) or not _NAME(schema_name):
        raise errors.invalid_definition("SchemaName is missing or not a name.")
    name = schema_name.lower()
    given = {
        key: labelled(key, value)
        for key, value in posted.items()
        if not key.startswith("@") and key != "AttributeTypeName"
    }
    definition = {
        "@odata.type": f"#{CRM}{kind}AttributeMetadata",
        **_COMMON,
        **TYPES[kind],
        **given,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": f"{kind}Type"},
        "ColumnNumber": number,
        "EntityLogicalName": table,
        "LogicalName": name,
        "MetadataId": metadata_id(table, name),
    }
    definition_checks.check_column(kind, definition)
    return _with_options(definition)


def column_type(posted: Mapping[str, object]) -> str:
    """`Decimal` of `Microsoft.Dynamics.CRM.ComplexDecimalAttributeMetadata`."""
    odata_type = str(posted.get("@odata.type", "")).removeprefix("#").removeprefix(CRM)
    kind = odata_type.removeprefix("Complex").removesuffix("AttributeMetadata")
    if kind not in TYPES:
        raise errors.not_emulated(f"columns of type {kind or 'unknown'}.")
    return kind


def complete_table(posted: Mapping[str, object]) -> Definition:
    """The whole definition of a table, without its columns and keys.

    Raises:
        WebApiError: A required property is missing.
    """
    schema_name = posted.get("SchemaName")
    custom = posted.get("IsCustomEntity", True)
    if (
        not isinstance(schema_name, str)
        or not _NAME(schema_name)
        or (custom and "_" not in schema_name)
    ):
        raise errors.invalid_definition(
            "SchemaName must begin with a customization prefix and an underscore.",
        )
    name = schema_name.lower()
    plural = name + ("es" if name.endswith("s") else "s")
    given = {
        key: labelled(key, value)
        for key, value in posted.items()
        if not key.startswith("@") and key not in {"Attributes", "Keys"}
    }
    return {
        **_TABLE_DEFAULTS,
        **given,
        "CollectionSchemaName": plural,
        "EntitySetName": plural,
        "LogicalCollectionName": plural,
        "LogicalName": name,
        "MetadataId": metadata_id(name),
        "PrimaryIdAttribute": f"{name}id",
    }


def privileges(table: Definition) -> list[Definition]:
    """One privilege per operation, named after the table's schema name.

    From "Create and update table definitions using the Web API". Tables owned by the
    organization have neither Assign nor Share, and their privileges are global only.
    """
    owned = table["OwnershipType"] == "UserOwned"
    stem = privilege_stem(table)
    return [
        {
            "CanBeBasic": owned,
            "CanBeDeep": owned,
            "CanBeEntityReference": False,
            "CanBeGlobal": True,
            "CanBeLocal": owned,
            "CanBeParentEntityReference": False,
            "CanBeRecordFilter": False,
            "Name": f"prv{kind}{stem}",
            "PrivilegeId": str(
                UUID(metadata_id("privilege", str(table["LogicalName"]), kind))
            ),
            "PrivilegeType": kind,
        }
        for kind in PRIVILEGE_TYPES
        if stem and (owned or kind not in {"Assign", "Share"} or stem == "Role")
    ]


def privilege_stem(table: Definition) -> str:
    """What a table's privileges are called after; empty where none are asked for.

    Its schema name, but `prvReadUser` for systemuser.
    """
    return str(table.get("_PrivilegeStem", table["SchemaName"]))


def public(definition: Definition) -> Definition:
    """A definition without what only the emulator keeps in it."""
    return {
        name: value for name, value in definition.items() if not name.startswith("_")
    }


def changes(body: Mapping[str, object], changeable: frozenset[str]) -> Definition:
    """What a body says of the properties that can be changed; the rest is ignored."""
    return {
        name: labelled(name, value)
        for name, value in body.items()
        if name in changeable
    }


def labelled(key: str, value: object) -> object:
    """Labels come back with the user's own text picked out."""
    if key not in {"DisplayName", "DisplayCollectionName", "Description"}:
        return value
    labels = value.get("LocalizedLabels") if isinstance(value, dict) else None
    if isinstance(labels, list) and labels and isinstance(labels[0], dict):
        return label(str(labels[0].get("Label", "")))
    return None


def _with_options(definition: Definition) -> Definition:
    """Option sets get names and ids; a Boolean without one gets No and Yes."""
    if "OptionSet" not in definition:
        return definition
    given = definition["OptionSet"]
    if not isinstance(given, dict):
        given = (
            {
                "TrueOption": {"Value": 1, "Label": label("Yes")},
                "FalseOption": {"Value": 0, "Label": label("No")},
            }
            if definition["AttributeType"] == "Boolean"
            else {"Options": []}
        )
    name = f"{definition['EntityLogicalName']}_{definition['LogicalName']}"
    kept: Definition = {
        key: value for key, value in given.items() if not key.startswith("@")
    }
    return definition | {
        "OptionSet": {
            "IsGlobal": False,
            "IsCustomOptionSet": True,
            **kept,
            "Name": name,
            "MetadataId": metadata_id("optionset", name),
        }
    }
