"""The parts of a report as plain values, independent of its format."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class LineState(StrEnum):
    """The result of a line."""

    MET = "met"
    WARNING = "warning"
    """Works, but needs attention."""
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One requirement and its measured state.

    Attributes:
        actual: The measured value; if not measured, the reason.
        how: How it was measured.
    """

    name: str
    state: LineState
    actual: str
    target: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that belong together.

    Attributes:
        says: The heading of the lines' targets.
    """

    lines: tuple[ReportLine, ...]
    title: str = ""
    says: str = "target"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """Rows of text with one cell per heading."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A screenshot."""

    title: str
    png: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence or two."""

    text: str


@dataclass(frozen=True, slots=True)
class SignOff:
    """Lines to fill in by hand, on paper or on screen."""

    roles: tuple[str, ...]


Block = Lines | ReportTable | Picture | Note | SignOff


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter.

    Attributes:
        key: The anchor of the chapter.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    intro: str = ""

    def lines(self) -> Iterator[ReportLine]:
        for block in self.blocks:
            if isinstance(block, Lines):
                yield from block.lines


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report.

    Attributes:
        title: The heading.
        made_at: When it was measured (aware, UTC).
        subject: The measured version and environment, in one line.
    """

    title: str
    made_at: datetime
    subject: str
    sections: tuple[Section, ...]

    def lines(self) -> Iterator[tuple[Section, ReportLine]]:
        """Each line with its chapter; one that is in two chapters appears once."""
        earlier: set[tuple[str, str]] = set()
        for section in self.sections:
            own = [
                line
                for line in section.lines()
                if (line.name, line.actual) not in earlier
            ]
            yield from ((section, line) for line in own)
            earlier |= {(line.name, line.actual) for line in own}

    def needing_attention(self) -> list[tuple[Section, ReportLine]]:
        """The lines that need attention; those not met come first."""
        found = [
            each
            for each in self.lines()
            if each[1].state in {LineState.NOT_MET, LineState.WARNING}
        ]
        return sorted(found, key=lambda one: one[1].state is LineState.WARNING)

    def count(self, state: LineState) -> int:
        """How many lines have this state."""
        return sum(line.state is state for _, line in self.lines())


def unmeasured(name: str, reason: str) -> Lines:
    """A placeholder for something that could not be measured."""
    return Lines((ReportLine(name, LineState.NOT_MEASURED, reason),))


def counts_in_words(report: Report) -> str:
    """The number of lines per state, as text."""
    return ", ".join(f"{report.count(state)} {state.value}" for state in LineState)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of the value with every text changed; states stay the same."""
    match value:
        case LineState():
            return value
        case str():
            return change(value)
        case tuple():
            return tuple(mapped(each, change) for each in value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            return dataclasses.replace(
                value, **{name: mapped(getattr(value, name), change) for name in names}
            )
        case _:
            return value


def presentable(text: str) -> str:
    """Foreign text on one line, with control characters escaped."""
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in " ".join(text.split())
    )
