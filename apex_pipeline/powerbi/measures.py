"""The measures, in DAX, and which figure of the product each is the same as.

Rates are sums over sums. Percentiles do not average: of the runs' 95th percentiles
there is the worst and the median.
"""

from apex_pipeline.analytics.rollups import columns
from apex_pipeline.powerbi.measure_formats import (
    DOLLARS,
    INSTANT,
    MILLISECONDS,
    MINUTES,
    RATE,
    SMALL_DOLLARS,
    TWO_PLACES,
    WHOLE,
)
from apex_pipeline.powerbi.period_measures import PERIOD_MEASURES
from apex_pipeline.powerbi.semantic_model import Measure, Twin

_T = "'Campaign Metrics'"
_COST, _VOLUME, _QUALITY, _SYNC = "Cost", "Volume", "Quality", "Sync"

_ROLLUP = {column.name: column.description for column in columns.MEASURES}


def _rolled_up(
    name: str,
    expression: str,
    form: str,
    folder: str,
    twin: str,
    *,
    api: str = "",
    scale: int = 1,
    description: str = "",
) -> Measure:
    """A measure that a rollup has too, which it is described by.

    A rollup's null is a blank in Power BI.
    """
    said = description or _ROLLUP[twin].replace("null", "blank")
    twins = [Twin("rollup", twin, scale)]
    if api:
        twins.append(Twin("api", api, scale))
    return Measure(name, expression, form, folder, said, twins=tuple(twins))


def _sum(column: str) -> str:
    return f"SUM({_T}[{column}])"


_BASE = (
    _rolled_up(
        "Total Cost",
        _sum("Cost (USD)"),
        DOLLARS,
        _COST,
        "cost_usd",
    ),
    _rolled_up(
        "Cost per Run",
        "DIVIDE([Total Cost], [Runs])",
        SMALL_DOLLARS,
        _COST,
        "cost_per_run_usd",
    ),
    Measure(
        "Cost per Campaign",
        "DIVIDE([Total Cost], [Campaigns])",
        DOLLARS,
        _COST,
        "Cost by different campaign, US dollars; blank without campaigns.",
        twins=(Twin("api", "cost_per_campaign_usd"),),
    ),
    _rolled_up(
        "Cost per Asset",
        "DIVIDE([Total Cost], [Assets])",
        SMALL_DOLLARS,
        _COST,
        "cost_per_asset_usd",
    ),
    _rolled_up("Runs", f"COUNTROWS({_T})", WHOLE, _VOLUME, "runs", api="runs"),
    Measure(
        "Campaigns",
        f"DISTINCTCOUNT({_T}[Campaign ID])",
        WHOLE,
        _VOLUME,
        "Different campaigns that had runs.",
    ),
    _rolled_up("Agents", _sum("Agents Total"), WHOLE, _VOLUME, "agents_total"),
    _rolled_up(
        "Successful Agents",
        _sum("Agents Successful"),
        WHOLE,
        _VOLUME,
        "agents_successful",
    ),
    _rolled_up("Assets", _sum("Assets Generated"), WHOLE, _VOLUME, "assets_generated"),
    _rolled_up(
        "Assets per Run",
        "DIVIDE([Assets], [Runs])",
        TWO_PLACES,
        _VOLUME,
        "assets_per_run",
        api="assets_per_run",
    ),
    _rolled_up(
        "Prompt Tokens",
        _sum("Tokens In"),
        WHOLE,
        _VOLUME,
        "tokens_in",
        api="tokens_in",
    ),
    _rolled_up(
        "Completion Tokens",
        _sum("Tokens Out"),
        WHOLE,
        _VOLUME,
        "tokens_out",
        api="tokens_out",
    ),
    Measure(
        "Tokens",
        "[Prompt Tokens] + [Completion Tokens]",
        WHOLE,
        _VOLUME,
        "Prompt and completion tokens together.",
    ),
    _rolled_up(
        "Success Rate",
        "DIVIDE([Successful Agents], [Agents])",
        RATE,
        _QUALITY,
        "success_rate_pct",
        api="success_rate_pct",
        scale=100,
        description="Agents that finished successfully, of all agents; blank without "
        "agents. A sum over a sum: not the mean of the runs' rates.",
    ),
    _rolled_up(
        "Mean Latency",
        f"DIVIDE(\n    SUMX({_T}, {_T}[Latency Avg (ms)] * {_T}[Agents Total]),\n"
        f"    {_sum('Agents Total')}\n)",
        MILLISECONDS,
        _QUALITY,
        "latency_avg_ms",
    ),
    _rolled_up(
        "Worst P95",
        f"MAXX({_T}, {_T}[Latency P95 (ms)])",
        MILLISECONDS,
        _QUALITY,
        "latency_p95_worst_ms",
        api="latency_p95_worst_ms",
    ),
    _rolled_up(
        "Median Run P95",
        f"MEDIANX({_T}, {_T}[Latency P95 (ms)])",
        MILLISECONDS,
        _QUALITY,
        "latency_p95_median_ms",
        api="latency_p95_median_ms",
    ),
    Measure(
        "Slow Runs",
        f"CALCULATE([Runs], {_T}[Is Slow] = TRUE())",
        WHOLE,
        _QUALITY,
        "Runs whose 95th percentile of latency is above LatencyObjectiveMs.",
    ),
    _rolled_up(
        "Slow Run Share",
        "DIVIDE(\n    [Slow Runs] + 0,\n"
        f"    CALCULATE([Runs], NOT(ISBLANK({_T}[Is Slow])))\n)",
        RATE,
        _QUALITY,
        "slo_breach_pct",
        scale=100,
        description="Slow runs, of all runs; blank without an objective or runs.",
    ),
    _rolled_up(
        "Last Run At",
        f"MAX({_T}[Created At])",
        INSTANT,
        _SYNC,
        "last_run_at",
        description="When the last run was recorded, in the business time zone.",
    ),
)

_DELIVERY = (
    Measure(
        "Records Delivered",
        "CALCULATE(\n    [Runs],\n"
        f"    USERELATIONSHIP({_T}[Delivered Date], 'Date'[Date])\n)",
        WHOLE,
        _SYNC,
        "Records by the day on which Dataverse created them.",
    ),
    Measure(
        "Median Delay",
        f"MEDIANX({_T}, {_T}[Delay (min)])",
        MINUTES,
        _SYNC,
        "Median of minutes from a run's recording to its delivery.",
    ),
    Measure(
        "Longest Delay",
        f"MAXX({_T}, {_T}[Delay (min)])",
        MINUTES,
        _SYNC,
        "Most minutes from a run's recording to its delivery.",
    ),
    Measure(
        "Last Delivery At",
        f"MAX({_T}[Delivered At])",
        INSTANT,
        _SYNC,
        "When Dataverse created the newest record, in the business time zone.",
    ),
)

MEASURES = (*_BASE, *PERIOD_MEASURES, *_DELIVERY)
"""All measures, in the order in which the model has them."""
