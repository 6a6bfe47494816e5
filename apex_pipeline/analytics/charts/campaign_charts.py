"""Pictures of what analysts read: rollups, history and forecast."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TypeVar

from apex_pipeline.analytics.charts import (
    Band,
    ChartPanel,
    Curve,
    Values,
    picture,
    sparkline,
)
from apex_pipeline.analytics.forecast.latest_forecast import Outlook
from apex_pipeline.analytics.rollups.history import HistoryDay, PeriodTotal
from apex_pipeline.analytics.rollups.periods import DAILY, WEEKLY, Grain

PERIODS_SHOWN = {DAILY.name: 90, WEEKLY.name: 52}
"""How many days, or weeks, a picture shows."""

_Row = TypeVar("_Row")

_SPARK_DAYS_AHEAD = 30
USD = "US dollars"


def rollup_picture(
    grain: Grain, found: Sequence[PeriodTotal], unfinished: date | None = None
) -> str:
    """Cost, success rate and tokens of days or weeks.

    Args:
        grain: Which of them.
        found: At least one, in order; those that are missing between are gaps.
        unfinished: The day that is not over, if it is among them.
    """
    lined = _lined_up(grain, found)
    first = found[0].label
    divider = None
    if unfinished is not None:
        divider = (unfinished - first).days // grain.days

    def panel(
        title: str, unit: str, *lines: Curve, highest: float | None = None
    ) -> ChartPanel:
        return ChartPanel(
            title,
            unit,
            first,
            lines,
            days=grain.days,
            highest=highest,
            divider=divider,
            divider_name="not over",
        )

    panels = [
        panel(
            f"Cost by {grain.name}",
            USD,
            Curve("cost", values_of(lined, lambda t: t.cost_usd)),
        ),
        panel(
            "Success rate",
            "percent of agents",
            Curve("rate", values_of(lined, lambda t: t.success_rate_pct)),
            highest=100,
        ),
        panel(
            "Tokens",
            f"by {grain.name}",
            Curve("prompt", values_of(lined, lambda t: t.tokens_in)),
            Curve("completion", values_of(lined, lambda t: t.tokens_out), colour=1),
        ),
    ]
    title = f"Cost, success rate and tokens by {grain.name}"
    return picture(title, described(panels), panels)


def rollup_sparkline(grain: Grain, found: Sequence[PeriodTotal]) -> str:
    """Cost, where there is no room for a picture."""
    lined = _lined_up(grain, found)
    title = f"Cost by {grain.name}, {len(lined)} {grain.name}s"
    return sparkline(title, values_of(lined, lambda t: t.cost_usd))


def history_picture(days: Sequence[HistoryDay]) -> str:
    """Cost beside its average and the window before; success rate; tokens."""
    first = days[0].day
    panels = [
        ChartPanel(
            "Cost by day",
            USD,
            first,
            [
                Curve(
                    "days before",
                    values_of(days, lambda d: d.cost_before_usd),
                    colour=2,
                ),
                Curve("cost", values_of(days, lambda d: d.cost_usd)),
                Curve(
                    "7-day mean", values_of(days, lambda d: d.cost_avg_7d_usd), colour=1
                ),
            ],
        ),
        ChartPanel(
            "Success rate",
            "percent of agents",
            first,
            [Curve("rate", values_of(days, lambda d: d.success_rate_pct))],
            highest=100,
        ),
        ChartPanel(
            "Tokens",
            "by day",
            first,
            [
                Curve("prompt", values_of(days, lambda d: d.tokens_in)),
                Curve("completion", values_of(days, lambda d: d.tokens_out), colour=1),
            ],
        ),
    ]
    title = f"The last {len(days)} days"
    return picture(title, described(panels), panels)


def history_sparkline(days: Sequence[HistoryDay]) -> str:
    """Cost, where there is no room for a picture."""
    return sparkline(
        f"Cost by day, {len(days)} days", values_of(days, lambda d: d.cost_usd)
    )


def forecast_picture(found: Sequence[PeriodTotal], ahead: Outlook) -> str:
    """The days that were, and the days to come with their intervals."""
    past = _lined_up(DAILY, found, until=ahead.made_on)
    first = ahead.made_on - timedelta(days=len(past))
    known = values_of(past, lambda t: t.cost_usd)
    before: Values = [None] * len(past)
    days = ahead.days
    panels = [
        ChartPanel(
            "Cost by day",
            USD,
            first,
            [
                Curve("cost", [*known, *[None] * len(days)]),
                Curve(
                    "forecast",
                    [*before, *values_of(days, lambda d: d.cost_usd)],
                    colour=1,
                    dashed=True,
                ),
            ],
            [
                Band(
                    "80 % interval",
                    [*before, *values_of(days, lambda d: d.low_80_usd)],
                    [*before, *values_of(days, lambda d: d.high_80_usd)],
                    colour=1,
                ),
                Band(
                    "50 % interval",
                    [*before, *values_of(days, lambda d: d.low_50_usd)],
                    [*before, *values_of(days, lambda d: d.high_50_usd)],
                    colour=1,
                    opacity=0.45,
                ),
            ],
            divider=len(past),
            divider_name=f"forecast of {ahead.made_on}",
        )
    ]
    return picture("Cost by day and its forecast", described(panels), panels)


def forecast_sparkline(found: Sequence[PeriodTotal], ahead: Outlook) -> str:
    """Cost and the 80 % interval of 30 days, where there is no room for a picture."""
    past = _lined_up(DAILY, found, until=ahead.made_on)
    days = [d for d in ahead.days if d.low_80_usd is not None][:_SPARK_DAYS_AHEAD]
    return sparkline(
        f"Cost by day, and the 80 % interval of {len(days)} days",
        values_of(past, lambda t: t.cost_usd),
        values_of(days, lambda d: d.low_80_usd),
        values_of(days, lambda d: d.high_80_usd),
    )


def _lined_up(
    grain: Grain, found: Sequence[PeriodTotal], until: date | None = None
) -> list[PeriodTotal | None]:
    """One for each period from the first to the last, or to the one before *until*."""
    if not found:
        return []
    by_label = {total.label: total for total in found}
    end = until or found[-1].label + timedelta(days=grain.days)
    count = max(0, (end - found[0].label).days // grain.days)
    step = timedelta(days=grain.days)
    return [by_label.get(found[0].label + step * number) for number in range(count)]


def values_of(
    rows: Sequence[_Row | None], figure: Callable[[_Row], Decimal | None]
) -> list[float | None]:
    """One figure of each row; None where there is no row or no figure."""
    figures = (None if row is None else figure(row) for row in rows)
    return [None if value is None else float(value) for value in figures]


def described(panels: Sequence[ChartPanel]) -> str:
    """What the lines show, in words."""
    parts = []
    for panel in panels:
        for line in panel.lines:
            known = [value for value in line.values if value is not None]
            if known:
                parts.append(
                    f"{panel.title}, {line.name}: {min(known):,.2f} to "
                    f"{max(known):,.2f} {panel.unit}, at last {known[-1]:,.2f}."
                )
            else:
                parts.append(f"{panel.title}, {line.name}: nothing is known.")
    return " ".join(parts)
