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


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case str() | date() | int():
            return str(value)
        case _:
            return f"{value:,.2f}"
