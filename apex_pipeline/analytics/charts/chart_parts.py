"""What a chart consists of: theme, lines, bands, panels and sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from apex_pipeline.analytics.charts.scales import Values


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours, as CSS has them.

    Attributes:
        background: None for what is behind the picture.
        ink: Titles.
        muted: Labels.
        grid: Lines behind the figures.
        colours: Of lines and bands, by their number.
    """

    background: str | None
    ink: str
    muted: str
    grid: str
    colours: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure over time."""

    name: str
    values: Values
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The space between two figures, such as an interval."""

    name: str
    low: Values
    high: Values
    colour: int = 0
    opacity: float = 0.18


@dataclass(frozen=True, slots=True)
class ChartPanel:
    """Lines and bands on common axes.

    Attributes:
        unit: What the values are in, written beside the title.
        first: First day of the first period.
        days: Length of a period.
        highest: Upper end of the value axis, which then need not begin at zero; None
            for one that begins at zero and ends above the largest value.
        divider: Number of the period at whose beginning a line is drawn.
        divider_name: What begins there.
    """

    title: str
    unit: str
    first: date
    lines: Sequence[Curve]
    bands: Sequence[Band] = ()
    days: int = 1
    highest: float | None = None
    divider: int | None = None
    divider_name: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """Of one panel, in pixels."""

    width: int = 720
    height: int = 190
