"""A report as Markdown, in the dialect that GitHub and Dagster show."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from apex_pipeline.report.document import (
    Block,
    Line,
    Lines,
    Note,
    Picture,
    Report,
    Section,
    SignOff,
    State,
    Table,
    counts_in_words,
)

MARKS = {
    State.MET: "✓",
    State.WARNING: "!",
    State.NOT_MET: "✗",
    State.NOT_MEASURED: "–",  # noqa: RUF001  a dash for nothing
}

Place = Callable[[Picture], str | None]
"""Address of a picture, seen from the report; None where it has none."""

# Characters that mean something in Markdown or HTML, wherever they stand. An underscore
# within a word, as in each of our names, means nothing.
_SPECIAL = re.compile(r"[\\`*\[\]<>&|~#!]|(?<!\w)_|_(?!\w)")
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def to_markdown(report: Report, place: Place) -> str:
    """The whole report.

    Args:
        report: Of text without control characters.
        place: Where its pictures are.
    """
    parts = [heading(report)]
    for number, section in enumerate(report.sections, 1):
        parts.append(chapter(number, section, place))
    return "\n".join(parts)


def heading(report: Report) -> str:
    """What stands before the chapters."""
    when = f"{report.made_at:%Y-%m-%d at %H:%M:%S} UTC"
    parts = (
        "# Completion report",
        f"{escaped(report.subject)}. Measured on {when}.",
        f"**{counts_in_words(report)}**",
        "",
    )
    return "\n\n".join(parts)


def chapter(number: int, section: Section, place: Place) -> str:
    """One chapter."""
    parts = [f"## {number}. {escaped(section.title)}"]
    parts += [escaped(section.intro)] if section.intro else []
    for block in section.blocks:
        parts += _block(block, place)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that is shown as it is."""
    return _SPECIAL.sub(lambda m: _HTML.get(m[0], f"\\{m[0]}"), text)


def _block(block: Block, place: Place) -> Iterator[str]:
    match block:
        case Lines():
            yield from _title(block.title)
            yield _lines(block.lines)
        case Table():
            yield from _title(block.title)
            yield _table(block.head, block.rows)
        case Picture():
            yield from _title(block.title)
            where = place(block)
            yield f"![{escaped(block.title)}]({where})" if where else "(left out here)"
        case Note():
            yield escaped(block.text)
        case SignOff():
            rows = [(role, "", "", "") for role in block.roles]
            yield _table(("", "name", "date", "signature"), rows)


def _title(text: str) -> Iterable[str]:
    return [f"### {escaped(text)}"] if text else []


def _lines(lines: Sequence[Line]) -> str:
    head = ["", "what", "state", "measured", "target"]
    is_told_how = any(line.how for line in lines)
    rows = []
    for line in lines:
        row = [MARKS[line.state], line.name, line.state.value, line.actual, line.target]
        rows.append((*row, line.how) if is_told_how else tuple(row))
    return _table([*head, "how"] if is_told_how else head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head))]
    lines += [_row([escaped(cell) for cell in row]) for row in rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
