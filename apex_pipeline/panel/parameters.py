"""The API's query parameters: validation and description in one place."""

from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

HISTORY_DAYS = (30, 60, 90)
MOST_RECENT = 500


class InvalidParameterError(ValueError):
    """A parameter has an invalid value; the text names the valid ones."""


@dataclass(frozen=True, slots=True)
class WholeNumberParameter:
    """A whole number within bounds, or one of a few choices."""

    name: str
    description: str
    default: int
    minimum: int = 1
    maximum: int = 2**31 - 1
    choices: tuple[int, ...] = ()

    def read(self, query: QueryParams) -> int:
        """The value in the query, or the default.

        Raises:
            InvalidParameterError: The parameter is repeated or invalid.
        """
        given = query.getlist(self.name)
        if not given:
            return self.default
        text = given[0]
        # Longer texts cannot be valid and are expensive to convert.
        is_number = text.isascii() and text.isdigit() and len(text) <= 10
        if len(given) > 1 or not is_number or not self._allows(int(text)):
            raise InvalidParameterError(f"{self.name} must be {self._allowed}, once.")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """The parameter as OpenAPI describes it."""
        number: dict[str, Any] = {"type": "integer", "default": self.default}
        if self.choices:
            number["enum"] = list(self.choices)
        else:
            number |= {"minimum": self.minimum, "maximum": self.maximum}
        return {
            "name": self.name,
            "in": "query",
            "description": self.description,
            "required": False,
            "schema": number,
        }

    def _allows(self, number: int) -> bool:
        if self.choices:
            return number in self.choices
        return self.minimum <= number <= self.maximum

    @property
    def _allowed(self) -> str:
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        return f"a whole number from {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class ZoneParameter:
    """One of the time zones that rollups are made for."""

    zones: tuple[str, ...]
    name: str = "zone"
    description: str = "UTC, or the business time zone, which is the default."

    def read(self, query: QueryParams) -> str | None:
        """The value in the query; None where there is none.

        Raises:
            InvalidParameterError: The parameter is repeated, or no rollups are made for
                its zone.
        """
        given = query.getlist(self.name)
        if not given:
            return None
        if len(given) > 1 or given[0] not in self.zones:
            raise InvalidParameterError(
                f"{self.name} must be {' or '.join(self.zones)}, once: rollups are made for no "
                "other."
            )
        return given[0]

    def schema(self) -> dict[str, Any]:
        """The parameter as OpenAPI describes it."""
        return {
            "name": self.name,
            "in": "query",
            "description": self.description,
            "required": False,
            "schema": {"type": "string", "enum": list(self.zones)},
        }


Parameter = WholeNumberParameter | ZoneParameter

LIMIT = WholeNumberParameter(
    "limit", "Number of records, newest first.", default=50, maximum=MOST_RECENT
)
DAYS = WholeNumberParameter(
    "days", "Number of whole days.", default=30, choices=HISTORY_DAYS
)
