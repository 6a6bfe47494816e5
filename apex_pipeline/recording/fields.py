"""The fields of a record: their names in each spelling, and their limits. Pure.

A value must fit the Dataverse column (`metrics`) and this database's Postgres column,
and be plausible: counts are not negative, a rate is 0 to 100 percent.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from numbers import Integral
from types import MappingProxyType
from uuid import UUID

from apex_pipeline.column_types import (
    ColumnType,
    DecimalNumber,
    InvalidValueError,
    Text,
    Timestamp,
    WholeNumber,
)
from apex_pipeline.metrics import COLUMNS, Column

ID = "id"
SUCCESS_RATE = "success_rate_pct"
CREATED_AT = "created_at"

OPTIONAL = frozenset({SUCCESS_RATE, CREATED_AT})
"""Columns that a record may omit: the rate is then computed, the time is now."""

_HUNDRED_PERCENT = Decimal(100)

_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_UNPAIRED_SURROGATE = re.compile("[\ud800-\udfff]")
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?([Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_POSTGRES_TYPE = re.compile(r"([a-z ]+?)(?:\((\d+)(?:,(\d+))?\))?")
_SMALLINT = 2**15 - 1


class Spelling:
    """The field names that one kind of caller uses.

    Attributes:
        names: Column, or `id`, to name.
        columns: Name to column.
        key: Name of the idempotency key.
    """

    def __init__(self, names: Mapping[str, str], key: str) -> None:
        self.names = MappingProxyType(dict(names))
        self.columns = MappingProxyType({name: c for c, name in names.items()})
        self.key = key


AGENTS = Spelling({ID: ID} | {c.postgres: c.agents for c in COLUMNS}, "Idempotency-Key")
"""camelCase, as the agents send it."""

POSTGRES = Spelling(
    {ID: ID} | {c.postgres: c.postgres for c in COLUMNS}, "idempotency_key"
)
"""The names of the columns."""

OPTIONS = Spelling(
    {
        column: f"--{column.replace('_', '-')}"
        for column in (ID, *(c.postgres for c in COLUMNS))
    },
    "--idempotency-key",
)
"""Options of the command."""


def spelling_of(names: Collection[str]) -> Spelling:
    """Return the spelling that matches most of these names; on a tie, the agents'."""
    known = {s: len(s.columns.keys() & names) for s in (AGENTS, POSTGRES)}
    return POSTGRES if known[POSTGRES] > known[AGENTS] else AGENTS


class Repeated:
    """Marks the value of a name that appears more than once in a JSON object."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column with its limits.

    Attributes:
        type: The Dataverse type, narrowed to plausible values and to the Postgres
            column's type.
        is_uuid: Whether the Postgres column accepts only UUIDs.
    """

    column: str
    type: ColumnType
    is_uuid: bool

    def read(self, value: object, latest: datetime) -> str:
        """Validate a value and return it as text for Postgres.

        Args:
            value: Value from JSON, CSV or Python; not None.
            latest: Latest instant that is allowed.

        Raises:
            InvalidValueError: The message completes a sentence that begins with the
                field's name.
        """
        if isinstance(value, Repeated):
            raise InvalidValueError("is given more than once")
        match self.type:
            case Text():
                return self._read_text(value)
            case Timestamp():
                instant = _read_instant(value)
                self.type.to_json(instant)
                if instant > latest:
                    raise InvalidValueError("lies in the future")
                return instant.isoformat()
            case _:
                return self.type.to_json(_read_number(value))

    def _read_text(self, value: object) -> str:
        if not isinstance(value, str | UUID):
            raise InvalidValueError(f"is {_kind(value)}; it must be text")
        text = str(value)
        if "\0" in text:
            raise InvalidValueError(
                "contains a NUL character, which Postgres cannot store"
            )
        if _UNPAIRED_SURROGATE.search(text):
            raise InvalidValueError("contains characters that are not valid Unicode")
        if not text.strip():
            # Dataverse stores an empty text as null.
            raise InvalidValueError("is blank")
        self.type.to_json(text)
        if not self.is_uuid:
            return text
        if not is_uuid(text):
            raise InvalidValueError("is not a UUID, which the table's column requires")
        return text.lower()


def make_field(column: Column, postgres_type: str = "") -> Field:
    """Narrow a column's type to the values that may be written.

    Args:
        column: The column.
        postgres_type: Type as Postgres's `format_type` prints it; empty for no further
            limits.
    """
    matched = _POSTGRES_TYPE.fullmatch(postgres_type)
    kind, length, scale = matched.groups() if matched else ("", None, None)
    narrowed = _sensible(column)
    match narrowed:
        case Text() if kind in {"character varying", "character"} and length:
            # Postgres counts characters; a text never has more of them than UTF-16 units.
            narrowed = Text(min(narrowed.max_length, int(length)))
        case WholeNumber() if kind == "smallint":
            narrowed = replace(narrowed, maximum=_SMALLINT)
        case WholeNumber() if kind == "numeric" and length:
            most = 10 ** (int(length) - int(scale or 0)) - 1
            narrowed = replace(narrowed, maximum=min(narrowed.maximum, most))
        case DecimalNumber() if kind == "numeric" and length:
            most_of_it = Decimal(10 ** int(length) - 1).scaleb(-int(scale or 0))
            narrowed = replace(narrowed, maximum=min(narrowed.maximum, most_of_it))
        case _:
            pass
    return Field(column.postgres, narrowed, kind == "uuid")


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in the usual form with hyphens, in any case."""
    return _UUID.fullmatch(text) is not None


def _sensible(column: Column) -> ColumnType:
    match column.type:
        case WholeNumber():
            return replace(column.type, minimum=0)
        case DecimalNumber() if column.postgres == SUCCESS_RATE:
            return replace(column.type, minimum=Decimal(0), maximum=_HUNDRED_PERCENT)
        case DecimalNumber():
            return replace(column.type, minimum=Decimal(0))
        case _:
            return column.type


def _read_number(value: object) -> Decimal:
    match value:
        case bool():
            pass
        case Decimal():
            return value
        case Integral():
            return Decimal(int(value))
        case float():
            # The shortest text of this float, as in JSON: 0.1 stays 0.1.
            return Decimal(repr(float(value)))
        case _:
            pass
    raise InvalidValueError(f"is {_kind(value)}; it must be a number")


def _read_instant(value: object) -> datetime:
    instant = value
    if isinstance(value, str):
        matched = _INSTANT.fullmatch(value.strip())
        try:
            instant = datetime.fromisoformat(value.strip().upper()) if matched else None
        except ValueError:
            instant = None
    if not isinstance(instant, datetime):
        raise InvalidValueError(
            "is not a date and time with a time zone, such as 2026-10-30T13:00:00Z"
        )
    if instant.utcoffset() is None:
        raise InvalidValueError("has no time zone; write it like 2026-10-30T13:00:00Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise InvalidValueError(
            "is outside the years 1753 to 9999, which the column holds"
        ) from None


def _kind(value: object) -> str:
    """Describe the type of a value without showing the value."""
    match value:
        case bool():
            return "true or false"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case int() | float() | Decimal():
            return "a number"
        case _:
            return f"of type {type(value).__name__}"
