"""The table that is there from the start, as an administrator would post it."""

from typing import Any

from apex_pipeline.emulator.definitions import CRM, label

_WIDEST = 100_000_000_000


def _attribute(
    kind: str, schema_name: str, display: str, **more: object
) -> dict[str, Any]:
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": schema_name,
        "DisplayName": label(display),
        "RequiredLevel": {
            "Value": "ApplicationRequired",
            "CanBeChanged": True,
            "ManagedPropertyLogicalName": "canmodifyrequirementlevelsettings",
        },
        **more,
    }


def _decimal(schema_name: str, display: str, precision: int) -> dict[str, Any]:
    return _attribute(
        "Decimal",
        schema_name,
        display,
        Precision=precision,
        MinValue=-_WIDEST,
        MaxValue=_WIDEST,
    )


CAMPAIGN_METRICS: dict[str, Any] = {
    "@odata.type": f"{CRM}EntityMetadata",
    "SchemaName": "apex_CampaignMetrics",
    "DisplayName": label("Campaign Metrics"),
    "DisplayCollectionName": label("Campaign Metrics"),
    "OwnershipType": "OrganizationOwned",
    "TableType": "Standard",
    "IsActivity": False,
    "HasActivities": False,
    "HasNotes": False,
    "ChangeTrackingEnabled": True,
    "IsAuditEnabled": {
        "Value": True,
        "CanBeChanged": True,
        "ManagedPropertyLogicalName": "canmodifyauditsettings",
    },
    "Attributes": [
        _attribute("String", "apex_CampaignId", "Campaign", MaxLength=64),
        _attribute("String", "apex_RunId", "Run", MaxLength=64, IsPrimaryName=True),
        _attribute("String", "apex_Phase", "Phase", MaxLength=16),
        _attribute("Integer", "apex_AgentsTotal", "Agents total"),
        _attribute("Integer", "apex_AgentsSuccessful", "Agents successful"),
        _attribute("Integer", "apex_AssetsGenerated", "Assets generated"),
        _attribute("Integer", "apex_TokensIn", "Tokens in"),
        _attribute("Integer", "apex_TokensOut", "Tokens out"),
        _decimal("apex_CostUsd", "Cost (USD)", 5),
        _attribute("Integer", "apex_LatencyP95Ms", "Latency p95 (ms)"),
        _attribute("Integer", "apex_LatencyAvgMs", "Latency average (ms)"),
        _decimal("apex_SuccessRate", "Success rate (%)", 2),
        _attribute("DateTime", "apex_CreatedAt", "Created at"),
    ],
}
