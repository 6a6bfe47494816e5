"""The cost forecast by campaign: each of the dear ones by itself, the others as one."""

from collections.abc import Mapping
from datetime import date, timedelta

from sqlalchemy import Connection

from apex_pipeline.analytics.forecast import Forecast, daily_series, forecast, is_cost

OTHERS = "(others)"
SHARE = 0.9
"""Campaigns that carry so much of the cost of `DAYS` days have a forecast each."""

DAYS = 28
MOST_CAMPAIGNS = 50
"""However many carry it; each takes a twentieth of a second."""

_COSTS = """
    SELECT campaign_id, sum(cost_usd) AS cost FROM daily_campaign_rollup
    WHERE time_zone = %(zone)s AND day >= %(since)s AND day < %(until)s
    GROUP BY campaign_id HAVING sum(cost_usd) > 0 AND sum(cost_usd) < 'Infinity'
    ORDER BY cost DESC, campaign_id
"""
_DAYS = """
    SELECT campaign_id, day, sum(cost_usd) FROM daily_campaign_rollup
    WHERE time_zone = %(zone)s AND day >= %(since)s AND day < %(until)s
        AND campaign_id = ANY(%(campaigns)s)
    GROUP BY campaign_id, day
"""


def forecast_campaigns(
    connection: Connection, zone: str, known: Mapping[date, float], today: date
) -> list[tuple[str, float, Forecast]]:
    """Forecast each campaign that carries much of the cost, and the others as one.

    Args:
        connection: Where the rollups are.
        zone: The time zone in which days begin and end.
        known: What each day that is over cost, all campaigns together.
        today: The first day that is forecast.

    Returns:
        Campaign, its cost of the last 28 days in US dollars, and its forecast; the
        dearest first, the others last. Where nothing was spent lately, nothing.
    """
    since = today - timedelta(days=DAYS)
    values = {"zone": zone, "since": since, "until": today}
    rows = connection.exec_driver_sql(_COSTS, values)
    costs = {campaign: float(cost) for campaign, cost in rows}
    chosen: list[str] = []
    carried = 0.0
    for campaign, cost in costs.items():
        if carried >= SHARE * sum(costs.values()) or len(chosen) == MOST_CAMPAIGNS:
            break
        chosen.append(campaign)
        carried += cost
    if not chosen:
        return []
    # A campaign without a row on a day that is known did not run.
    daily = {
        campaign: {day: 0.0 for day, cost in known.items() if is_cost(cost)}
        for campaign in chosen
    }
    values |= {"since": min(known, default=today), "campaigns": chosen}
    for campaign, day, cost in connection.exec_driver_sql(_DAYS, values):
        if day in daily[campaign]:
            daily[campaign][day] = float(cost)
    parts = [(c, costs[c], forecast(daily_series(daily[c], today))) for c in chosen]
    if len(chosen) < len(costs):
        # Cents may be lost in the difference of floating points.
        rest = {
            day: max(
                0.0, round(known[day] - sum(each[day] for each in daily.values()), 6)
            )
            for day in daily[chosen[0]]
        }
        others = sum(costs.values()) - carried
        parts.append((OTHERS, others, forecast(daily_series(rest, today))))
    return parts
