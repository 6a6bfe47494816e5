"""The definition of the campaign metrics table, as sent to Dataverse.

Source: "Create and update table definitions using the Web API" and "Create and update
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
    """Return the table with all its columns, for one POST.

    The table is owned by the organization: records have no owner, and privileges have
    only one depth.

    Args:
        language: The organization's base language, required for every label.
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
    """Return the managed property that enables auditing of a table."""
    return {
        "Value": True,
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyauditsettings",
    }


def column_definition(column: Column, language: int) -> dict[str, Any]:
    """Return one column, for the table's POST or a POST of its own."""
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
    """Attribute type and limits. Without both ends, Dataverse sets a range of 0 to 10⁹."""
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
