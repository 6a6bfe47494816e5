"""Figures, tables and pictures as the metadata that the Dagster UI shows.

It shows Markdown of less than 1 000 characters where it stands, and longer Markdown
behind a link. All of it is kept in the event log, for each materialization anew.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

import dagster as dg


def numbers(figures: Mapping[str, Decimal | int | None]) -> dict[str, float | int]:
    """Numbers, which the UI plots over time; those that are none are left out."""
    return {
        name: value if isinstance(value, int) else float(value)
        for name, value in figures.items()
        if value is not None and math.isfinite(value)
    }


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]]
) -> dg.MarkdownMetadataValue:
    """A table whose first column is text, and whose others are figures."""
    lines = [" | ".join(head), " | ".join(["---", *["--:"] * (len(head) - 1)])]
    lines += [" | ".join(_cell(value) for value in row) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def image(svg: str, alt: str) -> dg.MarkdownMetadataValue:
    """A picture, whatever the length of it."""
    data = b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{data})")


def interval(low: Decimal | None, high: Decimal | None) -> str | None:
    """Two ends as one cell."""
    if low is None or high is None:
        return None
    return f"{_cell(low)}\N{EN DASH}\N{WORD JOINER}{_cell(high)}"


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case date():
            # The UI breaks lines at hyphens of the common kind.
            return str(value).replace("-", "\N{NON-BREAKING HYPHEN}")
        case Decimal():
            size = abs(float(value))
            places = 2 if size < 10 else 1 if size < 100 else 0
            return f"{value:,.{places}f}"
        case _:
            return str(value)
