"""The panel's tiles: their figures and the changes of these; pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apex_pipeline.panel.kpis import KeyFigures, PeriodComparison

_NOTHING = KeyFigures(0, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a tile: its field in `KeyFigures`, label and unit."""

    key: str
    label: str
    unit: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One of the panel's tiles; its first figure is shown large.

    Attributes:
        better: Whether `lower` or `higher` is an improvement, or `neither`.
    """

    key: str
    label: str
    better: str
    figures: tuple[Figure, ...]


TILES = (
    Tile(
        "cost_per_campaign",
        "Cost per campaign",
        "lower",
        (Figure("cost_per_campaign_usd", "Cost per campaign", "USD"),),
    ),
    Tile(
        "latency_p95",
        "P95 latency",
        "lower",
        (
            Figure("latency_p95_worst_ms", "Worst run", "ms"),
            Figure("latency_p95_median_ms", "Median of runs", "ms"),
        ),
    ),
    Tile(
        "success_rate",
        "Success rate",
        "higher",
        (Figure("success_rate_pct", "Success rate", "%"),),
    ),
    Tile(
        "assets_per_run",
        "Assets per run",
        "higher",
        (Figure("assets_per_run", "Assets per run", "assets"),),
    ),
    Tile(
        "tokens",
        "Tokens in/out",
        "neither",
        (
            Figure("tokens_in", "Tokens in", "tokens"),
            Figure("tokens_out", "Tokens out", "tokens"),
        ),
    ),
)


def tiles(compared: PeriodComparison | None) -> list[dict[str, Any]]:
    """All tiles; without figures where there is nothing to compare."""
    current = compared.current if compared else _NOTHING
    previous = compared.previous if compared else _NOTHING
    return [_tile(tile, current, previous) for tile in TILES]


def _tile(tile: Tile, current: KeyFigures, previous: KeyFigures) -> dict[str, Any]:
    return {
        "key": tile.key,
        "label": tile.label,
        "better": tile.better,
        "figures": [_figure(figure, current, previous) for figure in tile.figures],
    }


def _figure(
    figure: Figure, current: KeyFigures, previous: KeyFigures
) -> dict[str, Any]:
    value, before = getattr(current, figure.key), getattr(previous, figure.key)
    change, unit = None, "points" if figure.unit == "%" else "%"
    if value is not None and before is not None:
        if unit == "points":
            change = round(Decimal(value - before), 2)
        elif before:
            change = round(100 * Decimal(value - before) / Decimal(before), 1)
    return {
        "key": figure.key,
        "label": figure.label,
        "unit": figure.unit,
        "value": value,
        "previous": before,
        "change": change,
        "change_unit": unit,
    }
