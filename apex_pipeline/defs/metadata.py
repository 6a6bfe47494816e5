"""Numbers, tables and pictures as Dagster metadata.

The UI shows Markdown under 1 000 characters inline, and longer Markdown behind a link.
Every materialization stores its own copy in the event log.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from urllib.parse import quote

import dagster as dg

_INLINE_CHARACTERS = 1000

# Neither a URL nor Markdown's parentheses give these another meaning.
_SAFE = "/:=;,-.'"


def numbers(figures: Mapping[str, Decimal | int | None]) -> dict[str, float | int]:
    """Convert figures to numbers that the UI can plot; drop None, NaN and infinity."""
    return {
        name: value if isinstance(value, int) else float(value)
        for name, value in figures.items()
        if value is not None and math.isfinite(value)
    }


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]]
) -> dg.MarkdownMetadataValue:
    """Build a Markdown table; the first column is left-aligned, the others right-aligned."""
    lines = [" | ".join(head), " | ".join(["---", *["--:"] * (len(head) - 1)])]
    lines += [" | ".join(_cell(value) for value in row) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def image(svg: str, alt: str) -> dg.MarkdownMetadataValue:
    """Embed an SVG of any size as Markdown."""
    markdown = f"![{alt}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})"
    if len(markdown) >= _INLINE_CHARACTERS:
        # Base64 hides what repeats, so Postgres compresses it half as well.
        markdown = f"![{alt}](data:image/svg+xml,{quote(svg, safe=_SAFE)})"
    return dg.MetadataValue.md(markdown)


def escaped(value: str) -> str:
    """Escape everything that Markdown or HTML could interpret."""
    return "".join(
        character
        if character.isalnum() or character in " .:-+"
        else f"&#{ord(character)};"
        for character in value
    )


def interval(low: Decimal | None, high: Decimal | None) -> str | None:
    """Format an interval as one table cell; None if an end is missing."""
    if low is None or high is None:
        return None
    return f"{_cell(low)}\N{EN DASH}\N{WORD JOINER}{_cell(high)}"


def _cell(value: object) -> str:
    match value:
        case None:
            return "-"
        case date():
            # The UI wraps lines at ordinary hyphens.
            return str(value).replace("-", "\N{NON-BREAKING HYPHEN}")
        case Decimal():
            size = abs(float(value))
            places = 2 if size < 10 else 1 if size < 100 else 0
            return f"{value:,.{places}f}"
        case _:
            return str(value)
