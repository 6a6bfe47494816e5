"""The definition of the campaign metrics table, as it is posted.

From "Create and update table definitions using the Web API" and "Create and update
column definitions using the Web API", Microsoft Learn.
"""

from typing import Any

from apex_pipeline.column_types import (
    ColumnType,
    DecimalNumber,
    Text,
    Timestamp,
    WholeNumber,
)
from apex_pipeline.metrics import COLUMNS, Column

SCHEMA_NAME = "apex_CampaignMetrics"
PRIMARY_NAME = "apex_runid"

_CRM = "Microsoft.Dynamics.CRM."


def table_definition(language: int) -> dict[str, Any]:
    """The table with all of its columns, for one POST.

    Owned by the organization: a record belongs to nobody, and its privileges have one
    depth.

    Args:
        language: The organization's base language, which every label must have.
    """
    return {
        "@odata.type": f"{_CRM}EntityMetadata",
        "SchemaName": SCHEMA_NAME,
        "DisplayName": _label("Campaign Metrics", language),
        "DisplayCollectionName": _label("Campaign Metrics", language),
        "Description": _label("One row for each run of a campaign's agents", language),
        "OwnershipType": "OrganizationOwned",
        "TableType": "Standard",
        "IsActivity": False,
        "HasActivities": False,
        "HasNotes": False,
        "ChangeTrackingEnabled": True,
        "IsAuditEnabled": audited(),
        "Attributes": [
            column_definition(column, language)
            | ({"IsPrimaryName": True} if column.dataverse == PRIMARY_NAME else {})
            for column in COLUMNS
        ],
    }


def audited() -> dict[str, Any]:
    """The managed property that switches a table's auditing on."""
    return {
        "Value": True,
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyauditsettings",
    }


def column_definition(column: Column, language: int) -> dict[str, Any]:
    """One column, for the table's POST or for one of its own."""
    kind, facets = _type(column.type)
    return {
        "@odata.type": f"{_CRM}{kind}AttributeMetadata",
        "AttributeType": kind,
        "AttributeTypeName": {"Value": f"{kind}Type"},
        "SchemaName": column.dataverse,
        "DisplayName": _label(column.postgres.replace("_", " ").capitalize(), language),
        "Description": _label(column.description, language),
        "RequiredLevel": {
            "Value": "ApplicationRequired",
            "CanBeChanged": True,
            "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
        },
        **facets,
    }


def _type(column_type: ColumnType) -> tuple[str, dict[str, Any]]:
    """Kind of attribute, and its limits; both ends of a range, or it becomes 0 to 10⁹."""
    match column_type:
        case Text(length):
            return "String", {"MaxLength": length, "FormatName": {"Value": "Text"}}
        case WholeNumber(low, high):
            return "Integer", {"MinValue": low, "MaxValue": high, "Format": "None"}
        case DecimalNumber(places, low, high):
            limits = {"MinValue": int(low), "MaxValue": int(high)}
            return "Decimal", {"Precision": places} | limits
        case Timestamp():
            return "DateTime", {
                "Format": "DateAndTime",
                "DateTimeBehavior": {"Value": "UserLocal"},
            }


def _label(text: str, language: int) -> dict[str, Any]:
    return {
        "@odata.type": f"{_CRM}Label",
        "LocalizedLabels": [
            {
                "@odata.type": f"{_CRM}LocalizedLabel",
                "Label": text,
                "LanguageCode": language,
            }
        ],
    }
