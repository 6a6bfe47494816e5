"""Numbers with places: Edm.Decimal digit by digit, Edm.Double."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import ClassVar

from apex_pipeline.emulator import web_api_errors
from apex_pipeline.emulator.codecs import Stored, expect, unconvertible
from apex_pipeline.emulator.syntax_tree import Literal

# Wide enough for Decimal's eleven digits before the point and ten after it.
_EXACT = Context(prec=60)
_SCALE = Decimal(10) ** 10
_OFFSET = 10**23


@dataclass(frozen=True, slots=True)
class DecimalCodec:
    """Edm.Decimal, or Money, kept digit by digit with `precision` places.

    More places are rounded half up, as SQL Server rounds; undocumented for the Web API.
    Stored as a shifted integer of fixed width, whose text sorts as the number does.
    """

    table: str
    column: str
    precision: int
    minimum: Decimal
    maximum: Decimal
    edm: ClassVar[str] = "Edm.Decimal"
    affinity: ClassVar[str] = "TEXT"

    def read(self, value: object) -> Stored:
        """Refuse what is no number or lies outside MinValue and MaxValue."""
        kind = type(value)
        if kind is int or kind is Decimal:
            number = Decimal(value)  # type: ignore[arg-type]  # int or Decimal, above
            if not self.minimum <= number <= self.maximum:
                shown = f"{number:f}" if abs(number.adjusted()) < 40 else str(number)
                raise web_api_errors.out_of_range(
                    "0x80044330",
                    f"{self.table}.{self.column}",
                    f"{shown} of type System.Decimal",
                    f"{self.minimum:f} to {self.maximum:f}",
                )
            return store_decimal(number, self.precision)
        return None if value is None else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """Any number; places beyond the tenth cannot matter."""
        number = Decimal(expect(literal, "Edm.Int32", "Edm.Int64", "Edm.Decimal").text)
        limit = Decimal(10) ** 12
        return store_decimal(max(-limit, min(limit, number)), 10)

    def show(self, stored: Stored) -> str:
        """As many places as the column has; how many the service shows is not known."""
        return f"{load_decimal(str(stored), self.precision):f}"


@dataclass(frozen=True, slots=True)
class FloatingNumber:
    """Edm.Double, rounded to the column's places."""

    table: str
    column: str
    precision: int
    minimum: float
    maximum: float
    edm: ClassVar[str] = "Edm.Double"
    affinity: ClassVar[str] = "REAL"

    def read(self, value: object) -> Stored:
        """Refuse what is no number or lies outside MinValue and MaxValue."""
        if type(value) is int or type(value) is Decimal:
            number = float(min(max(value, -(10**300)), 10**300))
            if self.minimum <= number <= self.maximum:
                return round(number, self.precision)
            raise web_api_errors.out_of_range(
                "0x80044331",
                f"{self.table}.{self.column}",
                f"{value} of type System.Double",
                f"{self.minimum:g} to {self.maximum:g}",
            )
        return None if value is None else unconvertible(value, self.edm)

    def literal(self, literal: Literal) -> Stored:
        """Any number."""
        return float(expect(literal, "Edm.Int32", "Edm.Int64", "Edm.Decimal").text)

    def show(self, stored: Stored) -> str:
        """The shortest text that reads back as the same number."""
        return repr(float(stored or 0.0))


def load_decimal(stored: str, precision: int) -> Decimal:
    """The number that a decimal column stored, with `precision` places."""
    units = (int(stored) - _OFFSET) // 10 ** (10 - precision)
    return Decimal(units).scaleb(-precision, _EXACT)


def store_decimal(number: Decimal, precision: int) -> str:
    """The form in which a decimal column stores a number."""
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > precision:
        number = number.quantize(
            Decimal(1).scaleb(-precision), rounding=ROUND_HALF_UP, context=_EXACT
        )
    return f"{int(_EXACT.multiply(number, _SCALE)) + _OFFSET:024d}"
