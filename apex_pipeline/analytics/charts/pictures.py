"""A picture with axes: panels one above the other, each with lines and bands."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape

from apex_pipeline.analytics.charts.chart_parts import (
    Band,
    ChartPanel,
    Curve,
    Size,
    Theme,
)
from apex_pipeline.analytics.charts.scales import (
    Scale,
    Values,
    day_ticks,
    finite,
    printable,
    runs,
    value_ticks,
)

STANDALONE = Theme(
    "#ffffff", "#1f2933", "#52606d", "#e4e7eb", ("#1d4ed8", "#b45309", "#64748b")
)
"""For an image, which cannot know whether the page around it is light or dark."""

EMBEDDED = Theme(
    None,
    "var(--chart-ink, currentColor)",
    "var(--chart-muted, currentColor)",
    "var(--chart-grid, #88888844)",
    (
        "var(--chart-1, #1d4ed8)",
        "var(--chart-2, #b45309)",
        "var(--chart-3, #64748b)",
    ),
)
"""For SVG within a page, whose style sheet sets what it wants otherwise."""


USUAL_SIZE = Size()
_TOP, _BOTTOM, _RIGHT = 38, 24, 14
_TITLE, _LABEL = 13, 11
_FONTS = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif"
# The mean advance of a digit or letter in common sans-serif fonts, in units of the size;
# a little more than any of them has.
_ADVANCE = 0.62


def picture(
    title: str,
    description: str,
    panels: Sequence[ChartPanel],
    theme: Theme = STANDALONE,
    key: str = "chart",
    *,
    size: Size = USUAL_SIZE,
) -> str:
    """Draw panels one above the other.

    Args:
        title: What the picture shows; read out in its place.
        description: What can be seen in it, in words.
        panels: At least one.
        theme: Its colours.
        key: Begins the ids in it, which have to be unique within a page.
        size: Of each panel.
    """
    width, height = size.width, size.height * len(panels)
    name = escape(key, quote=True)
    left = max(_left(panel) for panel in panels)
    body = "".join(
        f'<g transform="translate(0 {number * size.height})">'
        f"{_panel(panel, left, size, theme)}</g>"
        for number, panel in enumerate(panels)
    )
    behind = theme.background and (
        f'<rect width="{width}" height="{height}" rx="6" fill="{theme.background}"/>'
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-labelledby="{name}-title {name}-desc" '
        f'font-family="{_FONTS}" font-size="{_LABEL}">'
        f'<title id="{name}-title">{_text(title)}</title>'
        f'<desc id="{name}-desc">{_text(description)}</desc>'
        f"{behind or ''}{body}</svg>"
    )


def _left(panel: ChartPanel) -> float:
    """Where the axis of time begins, so the labels of values have room."""
    ticks = value_ticks(_values(panel), panel.highest)
    return 12 + max(_width(label, _LABEL) for _, label in ticks)


def _panel(panel: ChartPanel, left: float, size: Size, theme: Theme) -> str:
    ticks = value_ticks(_values(panel), panel.highest)
    count = max(len(values) for values in _sequences(panel))
    x = Scale(0, max(count - 1, 1), left, size.width - _RIGHT)
    y = Scale(ticks[0][0], ticks[-1][0], size.height - _BOTTOM, _TOP)
    bands = (
        f'<path d="{_outline(band, x, y)}" fill="{_colour(theme, band.colour)}" '
        f'fill-opacity="{band.opacity:g}"/>'
        for band in panel.bands
    )
    return "".join(
        [
            _heading(panel, size, theme),
            *_value_labels(ticks, left, y, size, theme),
            *_day_labels(panel, count, x, size, theme),
            *bands,
            *(_stroke(line, x, y, theme) for line in panel.lines),
            _divider(panel, x, size, theme),
        ]
    )


def _heading(panel: ChartPanel, size: Size, theme: Theme) -> str:
    return (
        f'<text x="12" y="19" font-size="{_TITLE}" font-weight="600" '
        f'fill="{theme.ink}">{_text(panel.title)}<tspan font-weight="400" '
        f'fill="{theme.muted}"> {_text(panel.unit)}</tspan></text>'
        + "".join(_legend(panel, size, theme))
    )


def _value_labels(
    ticks: Sequence[tuple[float, str]], left: float, y: Scale, size: Size, theme: Theme
) -> Iterator[str]:
    for value, label in ticks:
        at = y(value)
        yield (
            f'<path d="M{left:g} {at:g}H{size.width - _RIGHT}" stroke="{theme.grid}"/>'
            f'<text x="{left - 6:g}" y="{at + 4:g}" text-anchor="end" '
            f'fill="{theme.muted}">{label}</text>'
        )


def _values(panel: ChartPanel) -> list[float]:
    return [
        known
        for values in _sequences(panel)
        for value in values
        if (known := finite(value)) is not None
    ]


def _sequences(panel: ChartPanel) -> list[Values]:
    bands = [values for band in panel.bands for values in (band.low, band.high)]
    return [line.values for line in panel.lines] + bands


def _is_drawn(values: Values) -> bool:
    return any(value is not None for value in values)


def _legend(panel: ChartPanel, size: Size, theme: Theme) -> list[str]:
    """Names at the right of the title; none where there is nothing to tell apart.

    What has no value is not drawn, and has no name there.
    """
    named: list[Curve | Band] = [line for line in panel.lines if _is_drawn(line.values)]
    named += [band for band in panel.bands if _is_drawn(band.high)]
    if len(named) < 2:
        return []
    parts, right = [], float(size.width - _RIGHT)
    for one in reversed(named):
        start = right - _width(one.name, _LABEL)
        colour = _colour(theme, one.colour)
        if isinstance(one, Band):
            mark = f'<path d="M{start - 18:g} 10h13v10h-13z" fill="{colour}" '
            mark += f'fill-opacity="{max(one.opacity, 0.25):g}"/>'
        else:
            mark = f'<path d="M{start - 18:g} 15h13" stroke="{colour}" '
            mark += f'stroke-width="2"{_dashes(dashed=one.dashed)}/>'
        parts.append(
            f'{mark}<text x="{start:g}" y="19" fill="{theme.muted}">'
            f"{_text(one.name)}</text>"
        )
        right = start - 30
    return parts


def _day_labels(
    panel: ChartPanel, count: int, x: Scale, size: Size, theme: Theme
) -> list[str]:
    parts, free = [], 0.0
    last = panel.first + timedelta(days=panel.days * (count - 1))
    for day, label in day_ticks(panel.first, last):
        at = x((day - panel.first).days / panel.days)
        half = _width(label, _LABEL) / 2
        if at - half >= free and at + half <= size.width - 2:
            parts.append(
                f'<text x="{at:g}" y="{size.height - 8}" text-anchor="middle" '
                f'fill="{theme.muted}">{label}</text>'
            )
            free = at + half + 8
    return parts


def _divider(panel: ChartPanel, x: Scale, size: Size, theme: Theme) -> str:
    if panel.divider is None:
        return ""
    at = x(panel.divider)
    has_room = at + 4 + _width(panel.divider_name, _LABEL) < size.width
    start, anchor = (at + 4, "start") if has_room else (at - 4, "end")
    return (
        f'<path d="M{at:g} {_TOP}V{size.height - _BOTTOM}" stroke="{theme.muted}" '
        f'stroke-dasharray="2 3"/><text x="{start:g}" y="{_TOP - 4}" '
        f'text-anchor="{anchor}" fill="{theme.muted}">{_text(panel.divider_name)}</text>'
    )


def _stroke(line: Curve, x: Scale, y: Scale, theme: Theme) -> str:
    path = "".join(
        "M"
        + "L".join(f"{x(n):g} {y(value):g}" for n, value in run)
        # One day between two that are not known is a dot.
        + ("h0" if len(run) == 1 else "")
        for run in runs(line.values)
    )
    return (
        f'<path d="{path}" fill="none" stroke="{_colour(theme, line.colour)}" '
        f'stroke-width="1.6" stroke-linejoin="round" stroke-linecap="round"'
        f"{_dashes(dashed=line.dashed)}/>"
    )


def _outline(band: Band, x: Scale, y: Scale) -> str:
    # Where one end is not known, neither is drawn.
    known = [
        high if finite(low) is not None else None
        for low, high in zip(band.low, band.high, strict=True)
    ]
    paths = []
    for run in runs(known):
        there = [f"{x(n):g} {y(high):g}" for n, high in run]
        back = [f"{x(n):g} {y(band.low[n] or 0.0):g}" for n, _ in reversed(run)]
        paths.append(f"M{'L'.join([*there, *back])}z")
    return "".join(paths)


def _dashes(*, dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""


def _colour(theme: Theme, number: int) -> str:
    return theme.colours[number % len(theme.colours)]


def _width(text: str, size: int) -> float:
    return round(len(text) * size * _ADVANCE, 1)


def _text(text: str) -> str:
    """Text that XML may hold: neither markup nor control characters."""
    return escape(printable(text), quote=False)
