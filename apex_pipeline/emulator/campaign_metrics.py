"""The table that is there from the start, as an administrator would post it."""

from typing import Any

from apex_pipeline.emulator.definition_properties import managed
from apex_pipeline.emulator.table_definitions import CRM, label

_WIDEST = {"MinValue": -(10**11), "MaxValue": 10**11}
# Schema name, display name, type, and its length or its places.
_COLUMNS = """
apex_CampaignId | Campaign | String | MaxLength 64
apex_RunId | Run | String | MaxLength 64
apex_Phase | Phase | String | MaxLength 16
apex_AgentsTotal | Agents total | Integer |
apex_AgentsSuccessful | Agents successful | Integer |
apex_AssetsGenerated | Assets generated | Integer |
apex_TokensIn | Tokens in | Integer |
apex_TokensOut | Tokens out | Integer |
apex_CostUsd | Cost (USD) | Decimal | Precision 5
apex_LatencyP95Ms | Latency p95 (ms) | Integer |
apex_LatencyAvgMs | Latency average (ms) | Integer |
apex_SuccessRate | Success rate (%) | Decimal | Precision 2
apex_CreatedAt | Created at | DateTime |
"""


def _column(line: str) -> dict[str, Any]:
    name, display, kind, more = (cell.strip() for cell in line.split("|"))
    limit, _, value = more.partition(" ")
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "SchemaName": name,
        "DisplayName": label(display),
        "RequiredLevel": managed("RequiredLevel", "ApplicationRequired"),
        "IsPrimaryName": name == "apex_RunId",
        **({limit: int(value)} if limit else {}),
        **(_WIDEST if kind == "Decimal" else {}),
    }


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
    "IsAuditEnabled": managed("IsAuditEnabled", value=True),
    "Attributes": [_column(line) for line in _COLUMNS.strip().splitlines()],
}
