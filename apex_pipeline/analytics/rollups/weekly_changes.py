"""The columns of a weekly rollup that compare a week with the one before."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WeeklyChange:
    """A column of a weekly rollup: the change of another since the week before.

    Attributes:
        of: The column that it compares.
        kind: A count that is zero where there were no runs; a figure that is unknown
            then; or the relation of two counts, in percent.
    """

    name: str
    type: str
    description: str
    of: str
    kind: Literal["count", "figure", "percent"]


_SINCE = "null where that week is not computed."
_EITHER = "null where either week has none."

CHANGES = (
    WeeklyChange(
        "runs_change",
        "bigint",
        f"Runs, less those of the week before; {_SINCE}",
        "runs",
        "count",
    ),
    WeeklyChange(
        "success_rate_change_points",
        "numeric",
        "Success rate, less that of the week before, in percentage points; " + _EITHER,
        "success_rate_pct",
        "figure",
    ),
    WeeklyChange(
        "assets_generated_change",
        "numeric",
        f"Assets, less those of the week before; {_SINCE}",
        "assets_generated",
        "count",
    ),
    WeeklyChange(
        "tokens_in_change",
        "numeric",
        f"Prompt tokens, less those of the week before; {_SINCE}",
        "tokens_in",
        "count",
    ),
    WeeklyChange(
        "tokens_out_change",
        "numeric",
        f"Completion tokens, less those of the week before; {_SINCE}",
        "tokens_out",
        "count",
    ),
    WeeklyChange(
        "cost_usd_change",
        "numeric",
        f"Cost, less that of the week before, US dollars; {_SINCE}",
        "cost_usd",
        "count",
    ),
    WeeklyChange(
        "cost_usd_change_pct",
        "numeric",
        "The same in percent of the cost of the week before; null where that was zero "
        "or is not computed.",
        "cost_usd",
        "percent",
    ),
    WeeklyChange(
        "latency_avg_change_ms",
        "numeric",
        f"Mean latency, less that of the week before, milliseconds; {_EITHER}",
        "latency_avg_ms",
        "figure",
    ),
    WeeklyChange(
        "latency_p95_worst_change_ms",
        "numeric",
        "Largest 95th percentile of latency, less that of the week before, "
        f"milliseconds; {_EITHER}",
        "latency_p95_worst_ms",
        "figure",
    ),
    WeeklyChange(
        "latency_p95_median_change_ms",
        "numeric",
        "Median 95th percentile of latency, less that of the week before, "
        f"milliseconds; {_EITHER}",
        "latency_p95_median_ms",
        "figure",
    ),
)
