"""Pictures of the report's pages, drawn from demo data where the visuals stand.

Each figure is a measure of the model, evaluated; the layout is that of the PBIR files.
`python -m apex_pipeline_tests.powerbi.previews` writes them for the documentation; a
test holds the committed ones to what this draws.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from apex_pipeline.analytics.charts import ChartPanel, Curve, Size, Theme, picture
from apex_pipeline.analytics.charts.scales import short_day, value_ticks
from apex_pipeline.local.demo import history
from apex_pipeline.powerbi import colours
from apex_pipeline.powerbi.model_tables import MODEL
from apex_pipeline.powerbi.pages import PAGES
from apex_pipeline.powerbi.report_layout import (
    HEIGHT,
    WIDTH,
    Box,
    Page,
    Visual,
    VisualField,
)
from apex_pipeline_tests.powerbi.dax import Context, calendar, metrics_frame, value_of

FOLDER = Path(__file__).parents[2] / "docs"
# A Saturday at noon. The days in view are those that are over.
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
_DAYS, _SHOWN_DAYS, _SLO = 100, 58, 8_000
# For two hours Dataverse did not answer; what was recorded by then came late.
_OUTAGE = datetime(2026, 10, 27, 13, tzinfo=UTC), datetime(2026, 10, 27, 15, tzinfo=UTC)
_FONTS = "Segoe UI,system-ui,-apple-system,Roboto,Helvetica,Arial,sans-serif"
_THEME = Theme(
    None, colours.INK, colours.MUTED, colours.LINE, tuple(colours.SERIES[:3])
)
# How wide a column of a table is, as a multiple of a measure's.
_SHARES = {
    "Campaign ID": 2.6,
    "Run ID": 2.6,
    "Phase": 0.6,
    "Created At": 1.3,
    "Delivered At": 1.3,
    "Month": 0.8,
    "Assets": 0.7,
}
# What a table is sorted by, where that is a measure of single runs.
_BY_RUN = {"Worst P95": "Latency P95 (ms)", "Longest Delay": "Delay (min)"}


def previews() -> dict[str, str]:
    """Every picture: file name to SVG."""
    return {file_name(page): preview(page) for page in PAGES}


def file_name(page: Page) -> str:
    return f"power-bi-{page.name.lower().replace(' ', '-')}.svg"


@cache
def demo() -> Context:
    """The demo's campaigns as the model has them, with the last whole days in view."""
    rows = [asdict(run) for run in history(NOW - timedelta(days=_DAYS), NOW)]
    rng = random.Random(11)
    delays = [_delay(row["created_at"], rng) for row in rows]
    frame = metrics_frame(rows, slo=_SLO, today=NOW.date(), delay=delays.__getitem__)
    days = calendar(frame)
    return Context(frame, days).on(*days[-_SHOWN_DAYS - 1 : -1])


def _delay(created: datetime, rng: random.Random) -> timedelta:
    """Up to five minutes for the schedule, and the run's own seconds."""
    began, ended = _OUTAGE
    waits = ended - created if began <= created < ended else timedelta(0)
    return waits + timedelta(seconds=round(rng.uniform(20, 320)))


def preview(page: Page) -> str:
    body = "".join(_visual(page, visual) for visual in page.visuals)
    name = escape(page.name)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'aria-labelledby="page-title" font-family="{_FONTS}">'
        f'<title id="page-title">{name}, drawn from demo data</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{colours.PAGE}"/>{body}</svg>\n'
    )


def _visual(page: Page, visual: Visual) -> str:
    box = visual.box
    draw: dict[str, Callable[[Page, Visual], str]] = {
        "slicer": _slicer,
        "cardVisual": _card,
        "lineChart": _lines,
        "clusteredColumnChart": _columns,
        "clusteredBarChart": _bars,
        "tableEx": _table,
    }
    return (
        f'<g transform="translate({box.x} {box.y})"><rect x=".5" y=".5" '
        f'width="{box.width - 1}" height="{box.height - 1}" rx="8" '
        f'fill="{colours.CARD}" stroke="{colours.LINE}"/>'
        f"{draw[visual.type](page, visual)}</g>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    size: int = 12,
    colour: str = colours.INK,
    weight: int = 400,
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _title(visual: Visual) -> str:
    return _text(14, 24, visual.title, 13, weight=600)


def _slicer(_: Page, visual: Visual) -> str:
    chosen = "All"
    if visual.title == "Days":
        chosen = f"{demo().dates()[0]} to {demo().dates()[-1]}"
    return _text(14, 21, visual.title, 12, colours.MUTED) + _text(14, 43, chosen, 14)


def _card(_: Page, visual: Visual) -> str:
    fields = visual.roles["Data"]
    drawn = _text(14, 25, visual.title, 13, colours.MUTED)
    value = _shown(fields[0], demo())
    drawn += _text(14, 59, value, 20 if len(value) > 12 else 26, weight=600)
    for field in fields[1:]:
        said = f"{_shown(field, demo())}  {field.name.lower()}"
        if field.name.endswith(" Change"):
            said = f"{_shown(field, demo())} against the 30 days before"
        drawn += _text(14, 83, said, 12, colours.MUTED)
    return drawn


def _by_day(field: VisualField) -> list[float | None]:
    return [
        None
        if (value := value_of(field.name, demo().on(day))) is None
        else float(value)
        for day in demo().dates()
    ]


def _lines(page: Page, visual: Visual) -> str:
    fields = visual.roles["Y"]
    values = [_by_day(field) for field in fields]
    unit, scale = _unit(fields[0])
    panel = ChartPanel(
        visual.title,
        unit,
        demo().dates()[0],
        [
            Curve(
                field.name,
                [None if v is None else v * scale for v in series],
                number,
            )
            for number, (field, series) in enumerate(zip(fields, values, strict=True))
        ],
        highest=100 if unit == "%" else None,
    )
    key = f"{page.name}-{visual.title}".lower().replace(" ", "-")
    size = Size(visual.box.width - 4, visual.box.height - 8)
    drawn = picture(visual.title, visual.alt_text, [panel], _THEME, key, size=size)
    # With its title where those of the other visuals are.
    return drawn.replace("<svg ", '<svg x="2" y="5" ', 1)


def _unit(field: VisualField) -> tuple[str, int]:
    form = MODEL.measure(field.name).format
    if form.endswith("%"):
        return "%", 100
    if "$" in form:
        return "US dollars", 1
    return {"\\m\\s": "ms", "\\m\\i\\n": "minutes"}.get(form.partition(" ")[2], ""), 1


def _columns(_: Page, visual: Visual) -> str:
    (field,) = visual.roles["Y"]
    values = [value or 0.0 for value in _by_day(field)]
    box, low, top = visual.box, visual.box.height - 30, 44
    ticks = value_ticks(values, None)
    largest, step = ticks[-1][0], (box.width - 70) / len(values)
    drawn = _title(visual)
    for value, label in ticks:
        y = low - value / largest * (low - top)
        drawn += f'<path d="M52 {y:g}H{box.width - 14}" stroke="{colours.LINE}"/>'
        drawn += _text(46, y + 4, label, 11, colours.MUTED, anchor="end")
    for number, value in enumerate(values):
        height = (low - top) * value / largest
        drawn += (
            f'<rect x="{54 + number * step:.1f}" y="{low - height:.1f}" '
            f'width="{step * 0.7:.1f}" height="{height:.1f}" fill="{colours.ACCENT}"/>'
        )
    for number, day in enumerate(demo().dates()):
        if day.weekday() == 0:
            at = 54 + (number + 0.35) * step
            drawn += _text(
                at, low + 18, short_day(day), 11, colours.MUTED, anchor="middle"
            )
    return drawn


def _bars(_: Page, visual: Visual) -> str:
    (by,), (field,) = visual.roles["Category"], visual.roles["Y"]
    column = {"Campaign ID": "campaign_id", "Phase": "phase"}[by.name]
    found = [
        (str(value), value_of(field.name, demo().where(**{column: value})) or 0)
        for value in demo().frame[by.name].unique()
    ]
    found.sort(key=lambda pair: (-pair[1], pair[0]))
    found = [pair for pair in found if pair[1]]
    box, drawn = visual.box, _title(visual)
    fitting = found[: (box.height - 48) // 30]
    largest = float(fitting[0][1])
    # As many as fit; few of them share the height.
    step = min(46, (box.height - 52) / len(fitting))
    for number, (name, value) in enumerate(fitting):
        y = 44 + number * step
        width = max(1.0, (box.width - 190) * float(value) / largest)
        said = _formatted(value, MODEL.measure(field.name).format)
        middle = y + step / 2 + 2
        drawn += _text(14, middle, _cut(name), 12, colours.MUTED)
        drawn += (
            f'<rect x="98" y="{y:.1f}" width="{width:.1f}" height="{0.7 * step:.1f}" '
            f'rx="3" fill="{colours.ACCENT}"/>'
        )
        drawn += _text(106 + width, middle, said, 12)
    return drawn


def _cut(text: str, length: int = 9) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _groups(visual: Visual, count: int) -> Iterator[tuple[Any, Context]]:
    """The first rows of a table: the value of its first column, and what it is of."""
    context = demo()
    if visual.roles["Values"][0].name == "Month":
        months = sorted({f"{day:%Y-%m}" for day in context.dates()}, reverse=True)
        for month in months[:count]:
            days = [day for day in context.dates() if f"{day:%Y-%m}" == month]
            yield month, context.on(*days)
        return
    assert visual.sort is not None
    name = visual.sort[0].name
    column = _BY_RUN.get(name, name)
    frame = context.rows.sort_values(column, ascending=False, kind="stable")
    for number in range(count):
        yield None, replace(context, frame=frame.iloc[[number]])


def _table(_: Page, visual: Visual) -> str:
    fields = visual.roles["Values"]
    most = 2.6 if len(fields) > 3 else 2.0
    shares = [min(_SHARES.get(field.name, 1.0), most) for field in fields]
    each = (visual.box.width - 28) / sum(shares)
    places = [14 + each * sum(shares[:number]) for number in range(len(shares))]
    lengths = [int((each * share - 10) / 7.6) for share in shares]
    # Numbers stand at the right of their column.
    ends = [x + each * share - 14 for x, share in zip(places, shares, strict=True)]
    columns = [
        (end, "end", 99) if field.is_measure else (x, "start", length)
        for x, end, length, field in zip(places, ends, lengths, fields, strict=True)
    ]
    drawn = _title(visual)
    for (x, anchor, _length), field in zip(columns, fields, strict=True):
        drawn += _text(x, 50, field.name, 12, weight=600, anchor=anchor)
    drawn += f'<path d="M14 58H{visual.box.width - 14}" stroke="{colours.ACCENT}"/>'
    for row, (first, context) in enumerate(_groups(visual, _fitting(visual.box))):
        y = 78 + row * 24
        for (x, anchor, length), field in zip(columns, fields, strict=True):
            said = first if field.name == "Month" else _cell(field, context)
            drawn += _text(x, y, _cut(said, length), 12, anchor=anchor)
        drawn += (
            f'<path d="M14 {y + 8}H{visual.box.width - 14}" stroke="{colours.LINE}"/>'
        )
    return drawn


def _fitting(box: Box) -> int:
    return (box.height - 68) // 24


def _cell(field: VisualField, context: Context) -> str:
    if field.is_measure:
        return _shown(field, context)
    value = context.frame[field.name].iloc[0]
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value)


def _shown(field: VisualField, context: Context) -> str:
    measure = MODEL.measure(field.name)
    return _formatted(value_of(measure.name, context), measure.format)


def _formatted(value: Any, form: str) -> str:
    """A value as Power BI shows it by one of our format strings."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if form.startswith("+"):
        return f"{100 * value:+,.1f}%"
    pattern, _, unit = form.replace("\\", "").partition(" ")
    places = len(pattern.strip("$%").partition(".")[2])
    number = float(value) * (100 if pattern.endswith("%") else 1)
    shown = f"{number:,.{places}f}"
    return (
        ("$" * pattern.startswith("$"))
        + shown
        + ("%" * pattern.endswith("%"))
        + (f" {unit}" if unit else "")
    )


def main() -> None:
    """Write the pictures into the documentation."""
    for name, svg in previews().items():
        (FOLDER / name).write_text(svg, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
