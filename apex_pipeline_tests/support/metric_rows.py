"""Rows of campaign metrics."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from apex_pipeline_tests.support.ends import campaign_row

ID = "0b3c8f4e-6f0a-4a3c-9a55-000000000001"


def row(**overrides) -> dict[str, object]:
    """A row as the database returns it."""
    as_read = {
        "id": UUID(ID),
        "cost_usd": Decimal("0.00348"),
        "success_rate_pct": Decimal("80.00"),
        "created_at": datetime(2026, 10, 30, 13, 0, 0, 999999, tzinfo=UTC),
    }
    return campaign_row(**(as_read | overrides))
