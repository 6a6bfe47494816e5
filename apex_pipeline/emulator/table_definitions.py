"""Completes posted table, column and key definitions as the service does.

A definition is the JSON object that EntityDefinitions shows. Property names and
defaults are from Microsoft Learn, "Create and update table definitions using the Web
API" and "Create and update column definitions using the Web API".
"""

import re
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.definition_properties import (
    COLUMN_DEFAULTS,
    COLUMN_NAMES,
    EMPTY_LABEL,
    TABLE_DEFAULTS,
    TABLE_NAMES,
    Definition,
    check_column,
    check_posted,
)

__all__ = ["EMPTY_LABEL", "Definition"]

CRM = "Microsoft.Dynamics.CRM."
ENGLISH = 1033
_NAME = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII).fullmatch

_IME: Definition = {"ImeMode": "Auto"}


def _format(name: str) -> Definition:
    return {"Format": name, **_IME}


def _text(name: str) -> Definition:
    return {**_format(name), "FormatName": {"Value": name}}


# Attribute types that the emulator stores, with what each has beside the common part.
TYPES: dict[str, Definition] = {
    "String": {"MaxLength": 100, "AutoNumberFormat": "", **_text("Text")},
    "Memo": {"MaxLength": 2000, **_text("TextArea")},
    "Integer": {"MinValue": -(2**31), "MaxValue": 2**31 - 1, "Format": "None"},
    "BigInt": {"MinValue": -(2**63), "MaxValue": 2**63 - 1},
    # Left out, the range becomes 0 to 1,000,000,000: observed in several tools.
    "Decimal": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2, **_IME},
    "Money": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2, **_IME},
    "Double": {"MinValue": 0, "MaxValue": 10**9, "Precision": 2, **_IME},
    "Boolean": {"DefaultValue": False, "OptionSet": None},
    "DateTime": _format("DateAndTime") | {"DateTimeBehavior": {"Value": "UserLocal"}},
    "Picklist": {"OptionSet": None},
    "State": {"OptionSet": None},
    "Status": {"OptionSet": None},
    "Lookup": {"Targets": [], "Format": "None"},
    "Owner": {"Targets": ["systemuser", "team"]},
    "Uniqueidentifier": {},
}
DEPTHS = ("Basic", "Local", "Deep", "Global")
PRIVILEGE_TYPES = (
    *("Create", "Read", "Write", "Delete", "Assign", "Share", "Append", "AppendTo"),
)


_OF_PRIVILEGE = {
    **dict.fromkeys(("CanBeEntityReference", "CanBeParentEntityReference"), False),
    "CanBeRecordFilter": False,
    "CanBeGlobal": True,
}


def label(text: str) -> Definition:
    """A Label with one English text, as read back from the service."""
    localized = {
        "Label": text,
        "LanguageCode": ENGLISH,
        "IsManaged": False,
        "MetadataId": str(uuid5(NAMESPACE_URL, f"label:{text}")),
        "HasChanged": None,
    }
    return {"LocalizedLabels": [localized], "UserLocalizedLabel": localized}


def metadata_id(*names: str) -> str:
    """A stable id for something that is known by name."""
    return str(uuid5(NAMESPACE_URL, "dataverse-emulator:" + "/".join(names)))


def type_code(table: str) -> int:
    """Custom tables are numbered from 10,000 on; which number is chosen."""
    return 10_000 + int(metadata_id(table)[:4], 16)


def complete_column(
    posted: Mapping[str, object], table: str, number: int
) -> Definition:
    """The whole definition of a column."""
    kind = column_type(posted)
    schema_name = posted.get("SchemaName")
    if not isinstance(schema_name, str) or not _NAME(schema_name):
        raise web_api_errors.invalid_definition("SchemaName is missing or not a name.")
    name = schema_name.lower()
    check_posted(
        posted, COLUMN_NAMES | frozenset(TYPES[kind]), f"{kind}AttributeMetadata"
    )
    given = {
        key: labelled(key, value)
        for key, value in posted.items()
        if "@" not in key and key != "AttributeTypeName"
    }
    definition = {
        "@odata.type": f"#{CRM}{kind}AttributeMetadata",
        **COLUMN_DEFAULTS,
        **TYPES[kind],
        **given,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": f"{kind}Type"},
        "ColumnNumber": number,
        "EntityLogicalName": table,
        "LogicalName": name,
        "MetadataId": metadata_id(table, name),
    }
    check_column(kind, definition)
    return _with_options(definition)


def column_type(posted: Mapping[str, object]) -> str:
    """`Decimal` of `Microsoft.Dynamics.CRM.ComplexDecimalAttributeMetadata`."""
    odata_type = str(posted.get("@odata.type", "")).removeprefix("#").removeprefix(CRM)
    kind = odata_type.removeprefix("Complex").removesuffix("AttributeMetadata")
    if kind not in TYPES:
        raise web_api_errors.not_emulated(f"columns of type {kind or 'unknown'}.")
    return kind


def complete_table(posted: Mapping[str, object]) -> Definition:
    """The whole definition of a table, without its columns and keys."""
    schema_name = posted.get("SchemaName")
    custom = posted.get("IsCustomEntity", True)
    if (
        not isinstance(schema_name, str)
        or not _NAME(schema_name)
        or (custom and "_" not in schema_name)
    ):
        raise web_api_errors.invalid_definition(
            "SchemaName must begin with a customization prefix and an underscore."
        )
    name = schema_name.lower()
    plural = name + ("es" if name.endswith("s") else "s")
    check_posted(posted, TABLE_NAMES | {"Attributes"}, "EntityMetadata")
    given = {
        key: labelled(key, value)
        for key, value in posted.items()
        if "@" not in key and key != "Attributes"
    }
    return {
        **TABLE_DEFAULTS,
        **given,
        "CollectionSchemaName": plural,
        "EntitySetName": plural,
        "LogicalCollectionName": plural,
        "LogicalName": name,
        "MetadataId": metadata_id(name),
        "ObjectTypeCode": given.get("ObjectTypeCode", type_code(name)),
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
            **dict.fromkeys(("CanBeBasic", "CanBeDeep", "CanBeLocal"), owned),
            **_OF_PRIVILEGE,
            "Name": f"prv{kind}{stem}",
            "PrivilegeId": metadata_id("privilege", str(table["LogicalName"]), kind),
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
    if not isinstance(labels, list) or not labels:
        return EMPTY_LABEL
    languages = {each.get("LanguageCode", ENGLISH) for each in labels if each}
    if languages - {ENGLISH}:
        raise web_api_errors.not_emulated(
            f"labels of language {max(languages - {ENGLISH})}."
        )
    return label(str(labels[0].get("Label") or ""))


def _with_options(definition: Definition) -> Definition:
    """Option sets get names and ids; a Boolean without one gets No and Yes."""
    if "OptionSet" not in definition:
        return definition
    given = definition["OptionSet"]
    if not isinstance(given, dict):
        yes = {"Value": 1, "Label": label("Yes")}
        both = {"TrueOption": yes, "FalseOption": {"Value": 0, "Label": label("No")}}
        given = both if definition["AttributeType"] == "Boolean" else {"Options": []}
    name = f"{definition['EntityLogicalName']}_{definition['LogicalName']}"
    kept: Definition = {
        key: value for key, value in given.items() if not key.startswith("@")
    }
    named = {"Name": name, "MetadataId": metadata_id("optionset", name)}
    flags = {"IsGlobal": False, "IsCustomOptionSet": True}
    return definition | {"OptionSet": {**flags, **kept, **named}}
