"""What each type of column accepts, how it is stored, and how it is shown.

A codec turns JSON into the stored form (`read`), a literal of a query option into the
same form (`literal`), and the stored form into JSON text (`show`). Stored forms sort in
SQLite as the values sort in SQL Server.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import ClassVar, NoReturn, Protocol

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.syntax_tree import Literal
from apex_pipeline.emulator.web_api_errors import MalformedValueError

Stored = str | int | float | None

INT32 = 2**31
INT64 = 2**63

quote: Callable[[str], str] = json.encoder.encode_basestring
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?)(Z|[+-]\d\d:\d\d)?"
).fullmatch
_WHOLE_UTC_SECOND = re.compile(r"(?:1[89]|2\d)\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ").fullmatch
_DAY = re.compile(r"\d{4}-\d\d-\d\d").fullmatch
_EARLIEST = "1753-01-01"


class Codec(Protocol):
    """The rules of one column."""

    @property
    def edm(self) -> str:
        """OData's name of the type."""

    @property
    def affinity(self) -> str:
        """How SQLite declares the column."""

    def read(self, value: object) -> Stored:
        """Check a JSON value and give its stored form."""

    def literal(self, literal: Literal) -> Stored:
        """The stored form of a literal; raises TypeError where the types differ."""

    def show(self, stored: Stored) -> str:
        """JSON text of a stored value that is not null."""


@dataclass(frozen=True, slots=True)
class TextCodec:
    """Single line or multiline text; MaxLength counts UTF-16 units as .NET does.

    Comparison ignores ASCII case, as SQL Server's usual collation ignores all case
    (unverified for a given organisation). An empty string is stored as null: general
    behaviour of Dataverse, undocumented for the Web API.
    """

    table: str
    column: str
    max_length: int
    edm: ClassVar[str] = "Edm.String"
    affinity: ClassVar[str] = "TEXT COLLATE NOCASE"

    def read(self, value: object) -> Stored:
        """Refuse what is not a string, or too long a one."""
        if type(value) is str:
            if (
                len(value) * 2 > self.max_length
                and len(value.encode("utf-16-le", "surrogatepass")) // 2
                > self.max_length
            ):
                raise web_api_errors.text_too_long(
                    self.table, self.column, self.max_length
                )
            return value or None
        return None if value is None else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """Strings compare with strings only."""
        return expect(literal, "Edm.String").text

    def show(self, stored: Stored) -> str:
        """A JSON string."""
        return quote(str(stored))


@dataclass(frozen=True, slots=True)
class WholeNumberCodec:
    """Edm.Int32 within MinValue and MaxValue, or Edm.Int64.

    A value beyond 32 bits is a malformed payload, one beyond the column's own range is
    0x8004432f (observed; its wording is taken from the decimal one).
    """

    table: str
    column: str
    minimum: int = -INT32
    maximum: int = INT32 - 1
    edm: str = "Edm.Int32"
    affinity: ClassVar[str] = "INTEGER"

    def read(self, value: object) -> Stored:
        """Refuse fractions, strings, booleans and numbers out of range."""
        if type(value) is int:
            if self.minimum <= value <= self.maximum:
                return value
            bits = INT32 if self.edm == "Edm.Int32" else INT64
            if not -bits <= value < bits:
                unconvertible(value, self.edm)
            column, limits = (
                f"{self.table}.{self.column}",
                f"{self.minimum} to {self.maximum}",
            )
            shown = f"{value} of type System.Int32"
            raise web_api_errors.out_of_range("0x8004432f", column, shown, limits)
        return None if value is None else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """Any number; a fraction compares as one."""
        number = Decimal(expect(literal, "Edm.Int32", "Edm.Int64", "Edm.Decimal").text)
        whole = abs(number) < INT64 and number == number.to_integral_value()
        return int(number) if whole else float(number)

    def show(self, stored: Stored) -> str:
        """Plain digits."""
        return str(stored)


@dataclass(frozen=True, slots=True)
class Choice(WholeNumberCodec):
    """A choice, state or status: one of the column's options."""

    options: tuple[int, ...] = ()

    def read(self, value: object) -> Stored:
        """Refuse what is not an option."""
        if type(value) is int and value not in self.options:
            accepted = ",".join(str(option) for option in self.options)
            raise web_api_errors.no_such_choice(
                value, self.column, self.table, accepted
            )
        # Named by class: zero-argument super() is broken by slots (CPython 90562).
        return WholeNumberCodec.read(self, value)


@dataclass(frozen=True, slots=True)
class Flag:
    """Edm.Boolean."""

    edm: ClassVar[str] = "Edm.Boolean"
    affinity: ClassVar[str] = "INTEGER"

    def read(self, value: object) -> Stored:
        """True, false or null; nothing else."""
        if type(value) is bool:
            return int(value)
        return None if value is None else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """True or false."""
        return int(expect(literal, "Edm.Boolean").text == "true")

    def show(self, stored: Stored) -> str:
        """A JSON boolean."""
        return "true" if stored else "false"


@dataclass(frozen=True, slots=True)
class Moment:
    """Date and time, or a date alone; nothing before 1753.

    From "Behavior and format of the date and time column". A value without an offset
    is taken as UTC. Fractions of a second are cut off: every documented answer shows
    whole seconds, and what happens to a fraction is undocumented. The status and code
    for years before 1753 are chosen.
    """

    date_only: bool = False
    affinity: ClassVar[str] = "TEXT"

    @property
    def edm(self) -> str:
        """Edm.Date for DateOnly, else Edm.DateTimeOffset."""
        return "Edm.Date" if self.date_only else "Edm.DateTimeOffset"

    def read(self, value: object) -> Stored:
        """Refuse what is no instant, or lies before 1753."""
        if type(value) is not str:
            return None if value is None else unconvertible(value, self.edm)
        stored = self._parse(value)
        if stored < _EARLIEST:
            raise web_api_errors.too_early(value)
        return stored

    def literal(self, literal: Literal) -> Stored:
        """A date, a date and time, or the same as a string."""
        return self._parse(
            expect(literal, "Edm.DateTimeOffset", "Edm.Date", "Edm.String").text
        )

    def show(self, stored: Stored) -> str:
        """ISO 8601 as stored."""
        return f'"{stored}"'

    def _parse(self, text: str) -> str:
        try:
            if not self.date_only and _WHOLE_UTC_SECOND(text):
                datetime.fromisoformat(text)
                return text
            if _DAY(text):
                datetime.fromisoformat(text)
                return text if self.date_only else f"{text}T00:00:00Z"
            if _MOMENT(text) and not self.date_only:
                return _to_utc(text)
        except (ValueError, OverflowError):
            pass
        return unconvertible(text, self.edm)


def _to_utc(text: str) -> str:
    moment = datetime.fromisoformat(text)
    moment = (
        moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    )
    return f"{moment.year:04d}" + moment.strftime("-%m-%dT%H:%M:%SZ")


def expect(literal: Literal, *kinds: str) -> Literal:
    """The literal, if it is of one of these types; raises TypeError."""
    if literal.edm not in kinds:
        raise TypeError(literal.edm)
    return literal


def unconvertible(value: object, edm: str) -> NoReturn:
    """Refuse a JSON value as the OData reader does."""
    if isinstance(value, dict | list):
        opening = "StartObject" if isinstance(value, dict) else "StartArray"
        raise MalformedValueError(
            f"An unexpected '{opening}' node was found when reading from the JSON"
            " reader. A 'PrimitiveValue' node was expected."
        )
    shown = str(value).lower() if isinstance(value, bool) else value
    raise MalformedValueError(
        f"Cannot convert the literal '{shown}' to the expected type '{edm}'."
    )
