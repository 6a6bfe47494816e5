"""Horizontal bars: one figure for each name, the longest across the picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from apex_pipeline.analytics.charts.chart_parts import Theme
from apex_pipeline.analytics.charts.pictures import STANDALONE

_WIDTH, _ROW, _TOP, _NAMES, _FIGURES = 720, 30, 56, 360, 70
_FONTS = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure, zero or more, and what it is of."""

    name: str
    value: float


def bars(
    title: str, description: str, shown: Sequence[Bar], theme: Theme = STANDALONE
) -> str:
    """Draw one bar for each, from top to bottom; the first has the first colour."""
    height = _TOP + _ROW * len(shown) + 12
    label = escape(f"{title}. {description}")
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" \
role="img" aria-label="{label}" font-family="{_FONTS}">
<rect width="{_WIDTH}" height="{height}" fill="{theme.background or "none"}"/>
<text x="12" y="24" font-size="14" font-weight="600" fill="{theme.ink}">{escape(title)}</text>
<text x="12" y="42" font-size="11" fill="{theme.muted}">{escape(description)}</text>
{"".join(_rows(shown, theme))}</svg>
"""


def _rows(shown: Sequence[Bar], theme: Theme) -> Iterator[str]:
    longest = max((bar.value for bar in shown), default=0.0) or 1.0
    for number, bar in enumerate(shown):
        top = _TOP + _ROW * number
        length = (_WIDTH - _NAMES - _FIGURES) * bar.value / longest
        colour = theme.colours[0 if number == 0 else 2]
        middle = top + _ROW / 2 + 4
        yield (
            f'<text x="{_NAMES - 8}" y="{middle:g}" font-size="11" text-anchor="end" '
            f'fill="{theme.ink}">{escape(bar.name)}</text>\n'
        )
        yield (
            f'<rect x="{_NAMES}" y="{top + 5}" width="{max(length, 1):.1f}" '
            f'height="{_ROW - 10}" rx="2" fill="{colour}"/>\n'
        )
        yield (
            f'<text x="{_NAMES + length + 6:.1f}" y="{middle:g}" font-size="11" '
            f'fill="{theme.muted}">{bar.value:,.0f}</text>\n'
        )
