"""The types of Dataverse's columns: their limits, and how values are sent."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import cache
from json.encoder import encode_basestring

MISSING = "is missing"

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  UTC
_ROUNDING = Context(rounding=ROUND_HALF_UP)


class InvalidValueError(ValueError):
    """The Dataverse column cannot hold a value; the text names the limit."""


@dataclass(frozen=True, slots=True)
class Text:
    """Single line of text, at most `max_length` UTF-16 code units (.NET's length)."""

    max_length: int

    @property
    def label(self) -> str:
        """The type in words."""
        return f"text, {self.max_length}"

    def to_json(self, value: object) -> str:
        """Render a text, or the text form of a UUID."""
        if value is None:
            raise InvalidValueError(MISSING)
        text = str(value)
        length = len(text)
        if not text.isascii():
            length = len(text.encode("utf-16-le", "surrogatepass")) // 2
        if length > self.max_length:
            raise InvalidValueError(
                f"is {length} characters long; the column holds {self.max_length}"
            )
        return encode_basestring(text)


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """Edm.Int32; the source may be a bigint or a numeric without fraction."""

    minimum: int = -(2**31)
    maximum: int = 2**31 - 1

    @property
    def label(self) -> str:
        """The type in words."""
        return "whole number"

    def to_json(self, value: object) -> str:
        """Render an integer."""
        if type(value) is int and self.minimum <= value <= self.maximum:
            # Nearly every value; Decimal takes ten times as long.
            return str(value)
        number = _finite_decimal(value)
        if number != number.to_integral_value():
            raise InvalidValueError(
                f"is {_shown(number)}; the column holds whole numbers"
            )
        if not self.minimum <= number <= self.maximum:
            raise InvalidValueError(
                f"is {_shown(number)}; the column holds {self.minimum} to {self.maximum}"
            )
        return str(int(number))


@dataclass(frozen=True, slots=True)
class DecimalNumber:
    """Edm.Decimal with `precision` digits after the point, six at most.

    The range is the type's widest (maker documentation, "create-edit-field-portal").
    """

    precision: int
    minimum: Decimal = Decimal(-100_000_000_000)
    maximum: Decimal = Decimal(100_000_000_000)

    @property
    def label(self) -> str:
        """The type in words."""
        return f"decimal, {self.precision} places"

    def to_json(self, value: object) -> str:
        """Render a decimal digit by digit, rounded half up as Postgres rounds."""
        number = _finite_decimal(value)
        if not self.minimum <= number <= self.maximum:
            raise InvalidValueError(
                f"is {_shown(number)}; the column holds {self.minimum} to {self.maximum}"
            )
        # Up to six places, `str` writes no exponent, and it is faster than a format.
        return str(_ROUNDING.quantize(number, _unit(self.precision)))


@dataclass(frozen=True, slots=True)
class Timestamp:
    """Date and time, UserLocal, sent as UTC with whole seconds.

    Dataverse stores nothing before 1753 (SQL Server's datetime) and documents no
    fractions of a second, so they are truncated here, which is predictable.
    """

    earliest: datetime = datetime(1753, 1, 1)  # noqa: DTZ001  UTC, as all are here

    @property
    def label(self) -> str:
        """The type in words."""
        return "date and time, UTC"

    def to_json(self, value: object) -> str:
        """Render an aware datetime, or the epoch seconds of one."""
        instant = _instant(value)
        if instant < self.earliest:
            raise InvalidValueError(
                f"is {instant:%Y-%m-%d}; the column holds nothing before 1753-01-01"
                if instant.year >= 1000
                else "lies before 1753-01-01, the earliest that the column holds"
            )
        return f'"{instant.isoformat()}Z"'


ColumnType = Text | WholeNumber | DecimalNumber | Timestamp


@cache
def _unit(precision: int) -> Decimal:
    """One in the last decimal place."""
    return Decimal(1).scaleb(-precision)


def _finite_decimal(value: object) -> Decimal:
    try:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        raise InvalidValueError("is not a number") from None
    if not number.is_finite():
        raise InvalidValueError(f"is {number}; the column holds finite numbers")
    return number


def _shown(number: Decimal) -> str:
    """The number for messages; 1e999999999 is not written out."""
    _, digits, exponent = number.as_tuple()
    is_short = isinstance(exponent, int) and len(digits) + abs(exponent) <= 60
    return f"{number:f}" if is_short else f"{number:.3e}"


def _instant(value: object) -> datetime:
    """UTC without its zone, to the second; an aware one takes three times as long."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(microsecond=0, tzinfo=None)
    try:
        return _EPOCH + timedelta(0, math.floor(_finite_decimal(value)))
    except (InvalidValueError, OverflowError):
        raise InvalidValueError(
            "lies outside the years 1753 to 9999, which the column holds"
        ) from None
