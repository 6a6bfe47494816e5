"""Pictures of the panel: a line beneath a tile's figure, and the cost over time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from apex_pipeline.analytics.charts import (
    Band,
    ChartPanel,
    Curve,
    Theme,
    Values,
    picture,
    sparkline,
)
from apex_pipeline.analytics.charts.campaign_charts import USD, described, values_of
from apex_pipeline.analytics.forecast.latest_forecast import Outlook
from apex_pipeline.analytics.rollups.history import HistoryDay


@dataclass(frozen=True, slots=True)
class Trend:
    """A line that stands beneath a figure.

    Attributes:
        title: What it shows.
        line: SVG.
    """

    title: str
    line: str


_TILE_TRENDS: Mapping[str, tuple[str, Callable[[HistoryDay], Decimal | None]]] = {
    "cost_per_campaign": (
        "By day",
        lambda day: (
            day.cost_usd / day.campaigns
            if day.campaigns and day.cost_usd is not None
            else None
        ),
    ),
    "success_rate": ("By day", lambda day: day.success_rate_pct),
    "assets_per_run": (
        "By day",
        lambda day: (
            day.assets_generated / day.runs
            if day.runs and day.assets_generated is not None
            else None
        ),
    ),
}


def tile_trend(tile: str, days: Sequence[HistoryDay]) -> Trend | None:
    """The trend of a tile's figure; None if the tile has no line, or no value is known.

    Args:
        tile: The key of `panel.tiles.Tile`.
        days: The last days, the oldest first.
    """
    if tile not in _TILE_TRENDS:
        return None
    what, figure = _TILE_TRENDS[tile]
    values = values_of(days, figure)
    if not any(value is not None for value in values):
        return None
    title = f"{what}, {len(days)} days"
    return Trend(title, sparkline(title, values, stretches=True))


def trend_picture(
    days: Sequence[HistoryDay], ahead: Outlook | None, theme: Theme
) -> str:
    """Cost of past and expected days, and the success rate.

    Args:
        days: At least one.
        ahead: The forecast, where there is one.
        theme: Colours of the page around it.
    """
    first, last = days[0].day, days[-1].day
    coming = [day for day in ahead.days if day.day > last] if ahead else []
    coming = coming[: max(14, len(days) // 3)]
    before: Values = [None] * len(days)
    after: Values = [None] * len(coming)
    lines = [
        Curve(
            "7-day mean",
            [*values_of(days, lambda d: d.cost_avg_7d_usd), *after],
            colour=2,
        ),
        Curve("cost", [*values_of(days, lambda d: d.cost_usd), *after]),
    ]
    bands = []
    if coming:
        cost = values_of(coming, lambda d: d.cost_usd)
        lines.append(Curve("forecast", [*before, *cost], colour=1, dashed=True))
        low, high = (
            [*before, *values_of(coming, lambda d: d.low_80_usd)],
            [*before, *values_of(coming, lambda d: d.high_80_usd)],
        )
        bands.append(Band("80 % interval", low, high, colour=1))
    panels = [
        ChartPanel("Cost by day", USD, first, lines, bands),
        ChartPanel(
            "Success rate",
            "percent of agents",
            first,
            [Curve("rate", [*values_of(days, lambda d: d.success_rate_pct), *after])],
            highest=100,
        ),
    ]
    title = f"Cost and success rate of the last {len(days)} days"
    return picture(title, described(panels), panels, theme, key="trend")
