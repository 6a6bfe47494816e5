"""Write a report as Markdown, in the dialect that GitHub and Dagster render."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from apex_pipeline.report.document import (
    Block,
    Lines,
    LineState,
    Note,
    Picture,
    Report,
    ReportTable,
    Section,
    SignOff,
    counts_in_words,
)

MARKS = {
    LineState.MET: "✓",
    LineState.WARNING: "!",
    LineState.NOT_MET: "✗",
    LineState.NOT_MEASURED: "–",  # noqa: RUF001  a dash for nothing
}

_LEFT_OUT = "\nSee the file for the other chapters."

Place = Callable[[Picture], str | None]
"""Gives a picture's address relative to the report; None to leave it out."""

# Text between backticks is code, as in Markdown. The other characters have a meaning in
# Markdown or HTML anywhere. An underscore inside a word has none.
_SPECIAL = re.compile(r"`(?P<code>[^`]+)`|[\\`*\[\]<>&|~#!]|(?<![^\W_])_|_(?![^\W_])")
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def to_markdown(report: Report, place: Place) -> str:
    """The whole report.

    Args:
        report: The report; its texts have no control characters.
        place: Gives the addresses of its pictures.
    """
    parts = [heading(report)]
    for number, section in enumerate(report.sections, 1):
        parts.append(chapter(number, section, place))
    return "\n".join(parts)


def to_short_markdown(report: Report, most: int) -> str:
    """The report without pictures, limited to *most* characters.

    From the first chapter that does not fit, chapters are left out, and a note says so.
    """
    text = heading(report)
    for number, section in enumerate(report.sections, 1):
        part = "\n" + chapter(number, section, lambda _: None)
        if len(text) + len(part) + len(_LEFT_OUT) > most:
            return text + _LEFT_OUT
        text += part
    return text


def heading(report: Report) -> str:
    """The part before the chapters."""
    when = f"{report.made_at:%Y-%m-%d at %H:%M:%S} UTC"
    parts = (
        f"# {escaped(report.title)}",
        f"{escaped(report.subject)}. Measured on {when}.",
        f"**{counts_in_words(report)}**",
        *_attention(report),
        "",
    )
    return "\n\n".join(parts)


def _attention(report: Report) -> Iterator[str]:
    found = report.needing_attention()
    if not found:
        return
    yield "## Needs attention"
    yield _table(
        ("", "what", "chapter", "measured"),
        [
            (MARKS[line.state], line.name, section.title, line.actual)
            for section, line in found
        ],
    )


def chapter(number: int, section: Section, place: Place) -> str:
    parts = [f"## {number}. {escaped(section.title)}"]
    parts += [escaped(section.intro)] if section.intro else []
    for block in section.blocks:
        parts += _block(block, place)
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Escape text for Markdown, except code between backticks."""
    return _SPECIAL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if found["code"] is None:
        return _HTML.get(found[0], f"\\{found[0]}")
    # Markdown splits a table into cells before it recognizes code.
    code = found["code"].replace("|", r"\|")
    return f"`{code}`"


def _block(block: Block, place: Place) -> Iterator[str]:
    match block:
        case Lines():
            yield from _title(block.title)
            yield _lines(block)
        case ReportTable():
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


def _lines(block: Lines) -> str:
    head = ["", "what", "state", "measured", block.says]
    is_told_how = any(line.how for line in block.lines)
    rows = []
    for line in block.lines:
        row = [MARKS[line.state], line.name, line.state.value, line.actual, line.target]
        rows.append((*row, line.how) if is_told_how else tuple(row))
    return _table([*head, "how"] if is_told_how else head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(head), _row(["---"] * len(head))]
    lines += [_row([escaped(cell) for cell in row]) for row in rows]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
