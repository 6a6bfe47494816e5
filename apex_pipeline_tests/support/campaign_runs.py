"""Campaign runs as their writers have them, every field but the optional ones filled."""

from typing import Any
from uuid import UUID

from apex_pipeline_tests.support.ends import campaign_row


def metrics(**overrides: Any) -> dict[str, Any]:
    """Arguments in Python."""
    row = campaign_row(cost_usd=0.00348)
    for name in ("id", "success_rate_pct", "created_at"):
        del row[name]
    return row | overrides


def sent(**overrides: Any) -> dict[str, Any]:
    """JSON as the agents send it."""
    return {
        "campaignId": str(UUID(int=1)),
        "runId": str(UUID(int=2)),
        "phase": "2-3",
        "agentsTotal": 5,
        "agentsSuccessful": 4,
        "assetsGenerated": 12,
        "tokensIn": 1500,
        "tokensOut": 3000,
        "costUSD": 0.00348,
        "latencyP95Ms": 51200,
        "latencyAvgMs": 42000,
    } | overrides
