"""Which data roles each visual type has, as data.

Source: `data/capabilities.json` of Microsoft's npm package
`@microsoft/powerbi-core-visual-schema` 0.1.1, which the report validator reads too. Only
the types that our report uses, and of their roles those that a report needs.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Role:
    """A data role of a visual type.

    Attributes:
        takes: Columns to group by, measures, or either.
        most: How many fields it takes; None for any number.
    """

    takes: Literal["column", "measure", "either"]
    is_required: bool = True
    most: int | None = None


_CHART = {
    "Category": Role("column"),
    "Y": Role("measure"),
    "Series": Role("column", is_required=False, most=1),
}

ROLES: dict[str, dict[str, Role]] = {
    "cardVisual": {"Data": Role("measure")},
    "lineChart": {**_CHART, "Y2": Role("measure", is_required=False)},
    "clusteredBarChart": _CHART,
    "clusteredColumnChart": _CHART,
    "slicer": {"Values": Role("column", most=1)},
    "tableEx": {"Values": Role("either")},
}
"""Roles by visual type."""
