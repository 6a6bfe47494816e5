"""Measures of periods: 7-day means, the last 30 days with their change, and the month.

Windows end on the last whole day in view, in the business time zone, as in
`campaign_history`.
"""

from apex_pipeline.powerbi.measure_formats import (
    DOLLARS,
    MILLISECONDS,
    ONE_PLACE,
    RATE,
    SIGNED_RATE,
    TWO_PLACES,
    WHOLE,
)
from apex_pipeline.powerbi.semantic_model import Measure, Twin

_COST, _CHANGE, _WEEK = "Cost", "Last 30 days", "7-day means"

_LAST_DAY = Measure(
    "Last Whole Day",
    "VAR Refreshed = CALCULATE(MAX('Campaign Metrics'[Refreshed Date]), REMOVEFILTERS())\n"
    "RETURN\n"
    "    MIN(MAX('Date'[Date]), Refreshed - 1)",
    "yyyy-mm-dd",
    _CHANGE,
    "Last day in view that was over at the last refresh. Windows end on it.",
    is_hidden=True,
)


def _window(measure: str, first: str, last: str = "LastDay") -> str:
    return (
        "VAR LastDay = [Last Whole Day]\nRETURN\n"
        f"    CALCULATE([{measure}], DATESBETWEEN('Date'[Date], {first}, {last}))"
    )


def _weekly(
    measure: str, form: str, twin: str, *, is_sum: bool, scale: int = 1
) -> Measure:
    """A figure of seven days: the mean of daily sums, or a rate of all seven."""
    expression = _window(measure, "LastDay - 6")
    if is_sum:
        head, _, call = expression.partition("    CALCULATE")
        expression = f"{head}    DIVIDE(CALCULATE{call}, 7)"
    kind = "Mean by day" if is_sum else f"{measure}"
    return Measure(
        f"{measure} 7-Day Mean" if is_sum else f"{measure} 7 Days",
        expression,
        form,
        _WEEK,
        f"{kind} of the seven days that end on the last whole day in view.",
        twins=(Twin("history", twin, scale),),
    )


def _change(measure: str, form: str, *, in_points: bool = False) -> tuple[Measure, ...]:
    """The last 30 whole days, the 30 before them, and the change between the two."""
    now, before = f"{measure} 30 Days", f"{measure} Previous 30 Days"
    difference = f"[{now}] - [{before}]"
    # Without a figure on either side there is no change to speak of.
    known = f"NOT(ISBLANK([{now}])) && NOT(ISBLANK([{before}]))"
    change = difference if in_points else f"DIVIDE({difference}, [{before}])"
    return (
        Measure(
            now,
            _window(measure, "LastDay - 29"),
            form,
            _CHANGE,
            f"{measure} of the 30 days that end on the last whole day in view.",
        ),
        Measure(
            before,
            _window(measure, "LastDay - 59", "LastDay - 30"),
            form,
            _CHANGE,
            f"{measure} of the 30 days before the last 30.",
            is_hidden=True,
        ),
        Measure(
            f"{measure} Change",
            f"IF({known}, {change})",
            SIGNED_RATE,
            _CHANGE,
            f"{measure}: the last 30 days against the 30 before, "
            + ("as a difference of rates." if in_points else "relative to those."),
        ),
    )


PERIOD_MEASURES = (
    _LAST_DAY,
    _weekly("Total Cost", DOLLARS, "cost_avg_7d_usd", is_sum=True),
    _weekly("Runs", ONE_PLACE, "runs_avg_7d", is_sum=True),
    _weekly("Success Rate", RATE, "success_rate_7d_pct", is_sum=False, scale=100),
    _weekly("Mean Latency", MILLISECONDS, "latency_avg_7d_ms", is_sum=False),
    *_change("Total Cost", DOLLARS),
    *_change("Cost per Campaign", DOLLARS),
    *_change("Median Run P95", MILLISECONDS),
    *_change("Success Rate", RATE, in_points=True),
    *_change("Assets per Run", TWO_PLACES),
    *_change("Tokens", WHOLE),
    Measure(
        "Cost Month to Date",
        _window("Total Cost", "EOMONTH(LastDay, -1) + 1"),
        DOLLARS,
        _COST,
        "Cost from the first of the month to the last whole day in view, US dollars. On "
        "the first of a month, the whole month before.",
        twins=(Twin("forecast", "spent_usd"),),
    ),
    Measure(
        "Month-End Projection",
        "VAR LastDay = [Last Whole Day]\n"
        "VAR DaysLeft = DATEDIFF(LastDay, EOMONTH(LastDay, 0), DAY)\n"
        "RETURN\n"
        "    [Cost Month to Date] + ([Total Cost 7-Day Mean] * DaysLeft)",
        DOLLARS,
        _COST,
        "Cost of the month if each day left costs the mean of the last seven, US "
        "dollars. A run rate: cost_forecast in Postgres also knows weekdays and bands.",
    ),
)
"""The measures, in the order in which the model has them."""
