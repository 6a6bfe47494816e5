"""What a report is made of, however it is written: plain values."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a line of the report stands."""

    MET = "met"
    WARNING = "warning"
    """Works, but a person should know."""
    NOT_MET = "not met"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was to be so.

    Attributes:
        actual: What was seen; of what was not measured, why not.
        how: How it was measured.
    """

    name: str
    state: State
    actual: str
    target: str = ""
    how: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines that belong together.

    Attributes:
        says: What the targets of these lines are called.
    """

    lines: tuple[Line, ...]
    title: str = ""
    says: str = "target"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, each with a cell for each heading."""

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
    """Lines to be filled in by hand, on paper or on the screen."""

    roles: tuple[str, ...]


Block = Lines | Table | Picture | Note | SignOff


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter.

    Attributes:
        key: Its anchor, and part of the name of its pictures' files.
    """

    key: str
    title: str
    blocks: tuple[Block, ...]
    intro: str = ""

    def lines(self) -> Iterator[Line]:
        """Its lines."""
        for block in self.blocks:
            if isinstance(block, Lines):
                yield from block.lines


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report.

    Attributes:
        title: What it is called.
        made_at: When it was measured (aware, UTC).
        subject: What was measured: version, ends and place, in a line.
    """

    title: str
    made_at: datetime
    subject: str
    sections: tuple[Section, ...]

    def lines(self) -> Iterator[Line]:
        """All lines, wherever they stand."""
        for section in self.sections:
            yield from section.lines()

    def to_be_seen_to(self) -> list[tuple[Section, Line]]:
        """The lines that a person should look at, what is not met first.

        One that stands in two chapters is named once.
        """
        found: dict[tuple[str, str], tuple[Section, Line]] = {}
        for section in self.sections:
            for line in section.lines():
                if line.state in {State.NOT_MET, State.WARNING}:
                    found.setdefault((line.name, line.actual), (section, line))
        return sorted(found.values(), key=lambda one: one[1].state is State.WARNING)

    def count(self, state: State) -> int:
        """How many lines stand so."""
        return sum(line.state is state for line in self.lines())


def unmeasured(name: str, reason: str) -> Lines:
    """What stands in place of something that could not be looked at."""
    return Lines((Line(name, State.NOT_MEASURED, reason),))


def counts_in_words(report: Report) -> str:
    """The states and how often each occurs."""
    return ", ".join(f"{report.count(state)} {state.value}" for state in State)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with each text in it changed; states stay as they are."""
    match value:
        case State():
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
    """Text from anywhere, on one line, of which nothing steers whoever shows it."""
    return "".join(
        character if character.isprintable() else f"\\u{ord(character):04x}"
        for character in " ".join(text.split())
    )
