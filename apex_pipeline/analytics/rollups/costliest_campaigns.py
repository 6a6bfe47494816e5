"""The costliest campaigns of a period, with the period before and the forecast."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database

_COSTLIEST = """
    WITH today AS (
        SELECT (now() AT TIME ZONE %(zone)s)::date AS day
    ),
    spent AS (
        SELECT campaign_id, campaign_name, part.day >= today.day - %(days)s AS is_now,
            part.runs, part.cost_usd, part.agents_total, part.agents_successful
        FROM zoned_campaign_daily AS part, today
        WHERE part.time_zone = %(zone)s AND part.day < today.day
            AND part.day >= today.day - 2 * %(days)s
    )
    SELECT spent.campaign_id, max(spent.campaign_name),
        sum(runs) FILTER (WHERE is_now)::bigint,
        sum(spent.cost_usd) FILTER (WHERE is_now) AS now_usd,
        coalesce(sum(spent.cost_usd) FILTER (WHERE NOT is_now), 0),
        round(100 * sum(agents_successful) FILTER (WHERE is_now)
            / nullif(sum(agents_total) FILTER (WHERE is_now), 0), 4),
        max(ahead.cost_usd)
    FROM spent LEFT JOIN cost_forecast_campaign AS ahead
        ON ahead.time_zone = %(zone)s AND ahead.horizon = '30d'
            AND ahead.campaign_id = spent.campaign_id
    GROUP BY spent.campaign_id
    HAVING sum(runs) FILTER (WHERE is_now) > 0
    ORDER BY now_usd DESC, spent.campaign_id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class CampaignCost:
    """A campaign in the last days that are over.

    Attributes:
        campaign_name: None where it has none.
        before_usd: What it cost in as many days before.
        next_30d_usd: What it is expected to cost; None where it is not among those that
            are forecast each by itself.
    """

    campaign_id: str
    campaign_name: str | None
    runs: int
    cost_usd: Decimal
    before_usd: Decimal
    success_rate_pct: Decimal | None
    next_30d_usd: Decimal | None


def costliest(
    database: Database, days: int, zone: str, limit: int = 10
) -> list[CampaignCost]:
    """Read the campaigns that cost most in the last whole days, costliest first.

    Raises:
        DatabaseError: One of its kinds.
    """
    values = {"days": days, "zone": zone, "limit": limit}

    def read(connection: Connection) -> list[CampaignCost]:
        rows = connection.exec_driver_sql(_COSTLIEST, values)
        return [CampaignCost(*row) for row in rows]

    return database.transact(read, repeatable=True)
