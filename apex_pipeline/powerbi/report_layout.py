"""What a report consists of, as far as ours needs it."""

from dataclasses import dataclass
from typing import Literal

WIDTH, HEIGHT = 1280, 720
PHONE_WIDTH = 320
MARGIN, GAP = 16, 12


@dataclass(frozen=True, slots=True)
class VisualField:
    """A column or measure of the model, where a visual shows it."""

    table: str
    name: str
    is_measure: bool


@dataclass(frozen=True, slots=True)
class Box:
    """Where a visual stands, in pixels."""

    x: int
    y: int
    width: int
    height: int


VisualType = Literal[
    "cardVisual",
    "lineChart",
    "clusteredBarChart",
    "clusteredColumnChart",
    "slicer",
    "tableEx",
]


@dataclass(frozen=True, slots=True)
class Visual:
    """A visual: what it shows, where, and how it is read out.

    Attributes:
        roles: The fields in each of the visual type's data roles.
        sort: Field to sort by, and whether descending.
        phone_height: Its height in the phone layout; None to leave it out there.
    """

    type: VisualType
    title: str
    alt_text: str
    box: Box
    roles: dict[str, tuple[VisualField, ...]]
    sort: tuple[VisualField, bool] | None = None
    phone_height: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the report; visuals in the order in which the keyboard reaches them.

    Attributes:
        drill_through: Field by which other pages lead here.
    """

    name: str
    visuals: tuple[Visual, ...]
    drill_through: VisualField | None = None
