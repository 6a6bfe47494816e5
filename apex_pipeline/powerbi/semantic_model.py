"""What a semantic model consists of, as far as ours needs it."""

from dataclasses import dataclass
from typing import Literal

DataType = Literal["string", "int64", "double", "dateTime", "boolean"]


@dataclass(frozen=True, slots=True)
class ModelColumn:
    """A column of a table of the model.

    Attributes:
        source: The column of the partition's result that fills it; of a calculated
            table in brackets.
        holds_days: Midnights only; Desktop notes this in an annotation.
    """

    name: str
    type: DataType
    source: str
    description: str
    format: str = ""
    is_hidden: bool = False
    is_key: bool = False
    holds_days: bool = False


@dataclass(frozen=True, slots=True)
class Twin:
    """The same figure elsewhere in the product.

    Attributes:
        place: `rollup` for `rollup_columns.MEASURES`, `history` for `campaign_history`,
            `forecast` for `cost_forecast_horizon`, `api` for the panel's key figures.
        name: Its name there.
        scale: What the measure is multiplied by to give the figure there.
    """

    place: Literal["rollup", "history", "forecast", "api"]
    name: str
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure, in DAX."""

    name: str
    expression: str
    format: str
    folder: str
    description: str
    is_hidden: bool = False
    twins: tuple[Twin, ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """Where a table's rows come from: Power Query (M) or DAX."""

    kind: Literal["m", "calculated"]
    expression: str


@dataclass(frozen=True, slots=True)
class ModelTable:
    """A table of the model.

    Attributes:
        is_calendar: Marked as the date table; its key is its column of days.
    """

    name: str
    description: str
    columns: tuple[ModelColumn, ...]
    partition: Partition
    measures: tuple[Measure, ...] = ()
    is_calendar: bool = False


@dataclass(frozen=True, slots=True)
class ModelRelationship:
    """Many rows to one day."""

    many: tuple[str, str]
    one: tuple[str, str]
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Parameter:
    """A Power Query parameter, which you set after opening the project.

    Attributes:
        value: The default, as an M literal.
    """

    name: str
    value: str
    type: Literal["Text", "Number"]
    description: str


@dataclass(frozen=True, slots=True)
class SemanticModel:
    """The whole model."""

    parameters: tuple[Parameter, ...]
    tables: tuple[ModelTable, ...]
    relationships: tuple[ModelRelationship, ...]

    def measure(self, name: str) -> Measure:
        return next(m for t in self.tables for m in t.measures if m.name == name)
