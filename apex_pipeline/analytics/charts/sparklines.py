"""A line without axes, small enough to stand in a table.

Dagster shows Markdown of less than 1 000 characters where it stands, and puts longer
Markdown behind a link; a picture in it is written in base64, which adds a third.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from apex_pipeline.analytics.charts.scales import Scale, Values, finite, printable, runs

_COLOUR = "#2563eb"  # legible on white and on black
_STEP, _HEIGHT, _EDGE = 3, 34, 2
_SHOWN = 56
_POINTS, _POINTS_AHEAD = 40, 10
_TITLE_BYTES = 60


def sparkline(
    title: str,
    values: Values,
    low: Values = (),
    high: Values = (),
    *,
    stretches: bool = False,
) -> str:
    """Draw a line, and the space between two others that follow it.

    Args:
        title: A few words; what there is no room for is left off.
        values: At equal distances; many are drawn as the means of a few each.
        low: Lower ends of what is to come, at the same distances.
        high: Upper ends of that.
        stretches: Whether it takes the shape of its place.
    """
    line = _thinned(values, _POINTS)
    ahead = [_thinned(bound, _POINTS_AHEAD) for bound in (low, high)]
    known = [v for part in (line, *ahead) for v in part if v is not None]
    lowest, highest = min(known, default=0.0), max(known, default=0.0)
    y = Scale(lowest, highest, _HEIGHT - _EDGE, _EDGE)
    points = len(line) + len(ahead[0])
    # Few points are as far apart as it takes to be seen.
    step = max(_STEP, _STEP * _POINTS // max(points, 1))
    shape = 'preserveAspectRatio="none" ' if stretches else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {shape}'
        f'viewBox="0 0 {step * points} {_HEIGHT}" height="{_SHOWN}">'
        f"<title>{_words(title)}</title>"
        f'<path d="{_path(line, step, y)}" fill="none" stroke="{_COLOUR}" '
        f'stroke-linecap="round"/>{_band(len(line), ahead, step, y)}</svg>'
    )


def _words(title: str) -> str:
    text = printable(title)
    # One character may be many bytes, and markup is written in four or five.
    while len((words := escape(text, quote=False)).encode()) > _TITLE_BYTES:
        text = text[:-1]
    return words


def _thinned(values: Values, most: int) -> list[float | None]:
    """Means of neighbours, so no more than *most* are left."""
    size = -(-len(values) // most) or 1
    means = []
    for start in range(0, len(values), size):
        part = [v for v in map(finite, values[start : start + size]) if v is not None]
        means.append(sum(part) / len(part) if part else None)
    return means


def _path(line: Values, step: int, y: Scale) -> str:
    """Whole numbers, each the difference from the last: few bytes, and no drift."""
    path = ""
    for run in runs(line):
        heights = [round(y(value)) for _, value in run]
        path += f"M{run[0][0] * step} {heights[0]}"
        # A line of no length is a dot.
        path += "h0" if len(run) == 1 else "l"
        path += " ".join(
            f"{step}{'-' if at < before else ' '}{abs(at - before)}"
            for before, at in pairwise(heights)
        )
    return path


def _band(start: int, bounds: Sequence[Values], step: int, y: Scale) -> str:
    both = [
        (number * step, round(y(a)), round(y(b)))
        for number, (a, b) in enumerate(zip(*bounds, strict=True), start)
        if a is not None and b is not None
    ]
    if not both:
        return ""
    points = [f"{x} {b}" for x, _, b in both] + [f"{x} {a}" for x, a, _ in both[::-1]]
    return f'<path d="M{"L".join(points)}" fill="{_COLOUR}" opacity=".3"/>'
