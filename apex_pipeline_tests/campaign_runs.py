"""Campaign runs as their writers have them, every field but the optional ones filled."""

from typing import Any
from uuid import UUID


def metrics(**overrides: Any) -> dict[str, Any]:
    """Arguments in Python."""
    return {
        "campaign_id": UUID(int=1),
        "run_id": UUID(int=2),
        "phase": "2-3",
        "agents_total": 5,
        "agents_successful": 4,
        "assets_generated": 12,
        "tokens_in": 1500,
        "tokens_out": 3000,
        "cost_usd": 0.00348,
        "latency_p95_ms": 51200,
        "latency_avg_ms": 42000,
    } | overrides


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
