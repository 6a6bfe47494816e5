"""The page's content as text, built from the API's documents; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from apex_pipeline.analytics.charts import EMBEDDED
from apex_pipeline.analytics.charts.panel_charts import tile_trend, trend_picture
from apex_pipeline.analytics.forecast.latest_forecast import Outlook, OutlookTotal
from apex_pipeline.analytics.rollups.costliest_campaigns import CampaignCost
from apex_pipeline.analytics.rollups.history import HistoryDay
from apex_pipeline.panel import figure_text
from apex_pipeline.panel.api_documents import Document, plain
from apex_pipeline.panel.figure_text import FigureText, ShownChange

_WORDS = {"fresh": "Live", "stale": "Stale", "empty": "No data", "error": "Error"}
_HINTS = {
    "P95 latency": "95 % of a run's agents answered within this time. Percentiles do not "
    "average, so the panel shows the worst run and the median.",
    "Pending": "Rows in Postgres that are due and not in Dataverse yet.",
    "In quarantine": "Rows that Dataverse refused. The pipeline retries them, and they do "
    "not hold up other rows.",
}
_HORIZONS = {
    "7d": "Next 7 days",
    "30d": "Next 30 days",
    "90d": "Next 90 days",
    "month_end": "This month",
}


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """A figure of a tile, and its change."""

    key: str
    label: str
    text: FigureText
    change: ShownChange


@dataclass(frozen=True, slots=True)
class ShownTile:
    """A tile.

    Attributes:
        is_pair: Whether its two figures are of the same weight.
        trend: What its line shows, where it has one.
        line: The line in SVG.
        hint: What the label means, where it does not say so itself.
    """

    key: str
    label: str
    is_pair: bool
    figures: tuple[ShownFigure, ...]
    trend: str | None
    line: Markup | None
    hint: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure about the sync."""

    name: str
    value: str
    is_bad: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Live:
    """The part of the page that the browser polls.

    Attributes:
        word: The state in a word or two.
        summary: The state in a sentence, to be read out when it changes.
        time_zone: That of the times of day.
        poll_after_s: When to ask again, seconds.
    """

    state: str
    word: str
    message: str
    summary: str
    as_of: str | None
    as_of_iso: str | None
    time_zone: str
    poll_after_s: float
    tiles: tuple[ShownTile, ...]
    sync_message: str | None
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class DayRow:
    """A day of the table; it has no cells if it is not computed."""

    day: str
    is_computed: bool
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """A sum from the forecast."""

    name: str
    cost: str
    interval: str


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """A campaign of the table."""

    name: str
    campaign_id: str
    runs: str
    cost: str
    change: ShownChange
    success: str
    forecast: str


def live(kpis: Document, days: Sequence[HistoryDay], zone: str) -> Live:
    """Show `GET /api/kpis`, and the trend of the days before."""
    word = _WORDS[kpis["state"]]
    as_of: datetime | None = kpis["as_of"]
    sync = kpis["sync"]
    return Live(
        state=kpis["state"],
        word=word,
        message=kpis["message"],
        summary=f"{word}: {kpis['message']}",
        as_of=figure_text.instant(as_of, zone) if as_of else None,
        as_of_iso=str(plain(as_of)) if as_of else None,
        time_zone=zone,
        poll_after_s=kpis["poll_after_s"],
        tiles=tuple(_tile(tile, days) for tile in kpis["tiles"]),
        sync_message=sync["message"] or sync["last_failure"],
        facts=_facts(sync, zone),
    )


def rows(days: Sequence[HistoryDay]) -> list[DayRow]:
    """The days as table rows, newest first."""
    return [
        DayRow(str(day.day), day.is_computed, _cells(day) if day.is_computed else ())
        for day in reversed(days)
    ]


def campaigns(found: Sequence[CampaignCost]) -> list[CampaignRow]:
    """The costliest campaigns as table rows."""
    return [
        CampaignRow(
            each.campaign_name or each.campaign_id,
            each.campaign_id,
            figure_text.count(each.runs),
            figure_text.money(each.cost_usd),
            _against_before(each),
            f"{figure_text.figure(each.success_rate_pct, '%').number} %",
            figure_text.money(each.next_30d_usd),
        )
        for each in found
    ]


def _against_before(campaign: CampaignCost) -> ShownChange:
    if not campaign.before_usd:
        return ShownChange("unknown", "", "nothing before")
    more = campaign.cost_usd - campaign.before_usd
    percent = round(100 * more / campaign.before_usd, 1)
    return figure_text.change(percent, "%", "neither", is_known=True)


def totals(outlook: Outlook | None) -> list[Total]:
    """The sums from the forecast as text."""
    if outlook is None:
        return []
    return [
        Total(
            _HORIZONS[total.horizon],
            figure_text.money(total.cost_usd),
            _interval(total),
        )
        for total in outlook.totals
    ]


def picture(days: Sequence[HistoryDay], outlook: Outlook | None) -> str | None:
    """Draw past and expected days; None if no day is known."""
    if not any(day.is_computed for day in days):
        return None
    return trend_picture(days, outlook, EMBEDDED)


def _tile(tile: Document, days: Sequence[HistoryDay]) -> ShownTile:
    figures = tuple(
        ShownFigure(
            each["key"],
            each["label"],
            figure_text.figure(each["value"], each["unit"]),
            figure_text.change(
                each["change"],
                each["change_unit"],
                tile["better"],
                is_known=each["value"] is not None,
            ),
        )
        for each in tile["figures"]
    )
    trend = tile_trend(tile["key"], days)
    return ShownTile(
        key=tile["key"],
        label=tile["label"],
        is_pair=tile["better"] == "neither",
        figures=figures,
        trend=trend.title if trend else None,
        # Our own SVG, built from numbers.
        line=Markup(trend.line) if trend else None,  # noqa: S704
        hint=_HINTS.get(tile["label"], ""),
    )


def _facts(sync: Document, zone: str) -> tuple[Fact, ...]:
    quarantined = sync["quarantined"]
    return (
        Fact("Pending", figure_text.count(sync["pending"]), hint=_HINTS["Pending"]),
        Fact("Oldest waits", figure_text.duration(sync["oldest_pending_seconds"])),
        Fact("Last success", figure_text.instant(sync["last_success_at"], zone)),
        Fact("Delivered in 24 h", figure_text.count(sync["delivered_24h"])),
        Fact(
            "In quarantine",
            figure_text.count(quarantined),
            is_bad=bool(quarantined),
            hint=_HINTS["In quarantine"],
        ),
    )


def _cells(day: HistoryDay) -> tuple[str, ...]:
    def told(value: Any, unit: str) -> str:
        text = figure_text.figure(value, unit)
        return f"{text.number} {text.unit}".rstrip()

    return (
        figure_text.count(day.runs),
        told(day.success_rate_pct, "%"),
        told(day.assets_generated, "tokens"),
        told(day.tokens_in, "tokens"),
        told(day.tokens_out, "tokens"),
        figure_text.money(day.cost_usd),
        told(day.latency_p95_worst_ms, "ms"),
        told(day.latency_p95_median_ms, "ms"),
    )


def _interval(total: OutlookTotal) -> str:
    if total.low_80_usd is None or total.high_80_usd is None:
        return "no interval: see the note"
    low, high = map(figure_text.money, (total.low_80_usd, total.high_80_usd))
    return f"{low} to {high}, 80 % interval"
