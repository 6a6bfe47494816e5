"""Rows of campaign metrics."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

ID = "0b3c8f4e-6f0a-4a3c-9a55-000000000001"


def row(**overrides):
    return {
        "id": UUID(ID),
        "campaign_id": UUID(int=1),
        "run_id": UUID(int=2),
        "phase": "2-3",
        "agents_total": 5,
        "agents_successful": 4,
        "assets_generated": 12,
        "tokens_in": 1500,
        "tokens_out": 3000,
        "cost_usd": Decimal("0.00348"),
        "latency_p95_ms": 51200,
        "latency_avg_ms": 42000,
        "success_rate_pct": Decimal("80.00"),
        "created_at": datetime(2026, 10, 30, 13, 0, 0, 999999, tzinfo=UTC),
    } | overrides
