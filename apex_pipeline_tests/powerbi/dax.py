"""Evaluate the part of DAX that the measures use, over a frame of campaign runs.

What DAX says of blanks holds here: an aggregate of no rows is blank, blank divided is
blank, division by zero or blank is blank, and blank is zero in a sum or difference. A
blank is None. A function that is not known here fails loudly.
"""

from calendar import monthrange
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from statistics import median
from typing import Any

import pandas as pd
from pbi_parsers import dax
from pbi_parsers.dax import exprs

from apex_pipeline.metrics import COLUMNS
from apex_pipeline.powerbi.model_tables import MODEL, label
from apex_pipeline.powerbi.utc_offsets import utc_changes

METRICS = "Campaign Metrics"
CREATED, DELIVERED = "Created Date", "Delivered Date"


def metrics_frame(
    rows: Iterable[Mapping[str, Any]],
    *,
    slo: int | None,
    today: date,
    changes: str = utc_changes("UTC", 2000, 2000),
    delay: Callable[[int], timedelta] = lambda _: timedelta(minutes=3),
) -> pd.DataFrame:
    """The table as its Power Query makes it of the records of these rows.

    Args:
        rows: Rows of `campaign_metrics`.
        slo: The parameter LatencyObjectiveMs; None for none.
        today: The day of the last refresh, in the business time zone.
        changes: The parameter BusinessTimeZone.
        delay: From the recording of a row to its delivery, by the row's number.
    """
    to_zone = to_zone_of(changes)
    made = []
    for number, row in enumerate(rows):
        # Dataverse keeps whole seconds.
        created = row["created_at"].astimezone(UTC).replace(microsecond=0, tzinfo=None)
        delivered = created + delay(number)
        p95 = row["latency_p95_ms"]
        made.append(
            {label(c.postgres): row[c.postgres] for c in COLUMNS}
            | {
                "Created At": to_zone(created),
                "Delivered At": to_zone(delivered),
                CREATED: to_zone(created).date(),
                DELIVERED: to_zone(delivered).date(),
                "Delay (min)": (delivered - created).total_seconds() / 60,
                "Is Slow": None if slo is None else p95 > slo,
                "Refreshed Date": today,
            }
        )
    return pd.DataFrame(made).astype(object)


def to_zone_of(changes: str) -> Callable[[datetime], datetime]:
    """The function of that name in the Power Query."""
    parts = [part.split(" ") for part in changes.split("; ")[1:]]
    since = [(datetime.fromisoformat(at), int(minutes)) for at, minutes in parts]

    def to_zone(at: datetime) -> datetime:
        return at + timedelta(minutes=[m for begun, m in since if begun <= at][-1])

    return to_zone


def calendar(frame: pd.DataFrame) -> tuple[date, ...]:
    """The days of the date table."""
    first, last = frame[CREATED].min(), frame[DELIVERED].max()
    return tuple(
        first + timedelta(days=number) for number in range((last - first).days + 1)
    )


@dataclass(frozen=True)
class Context:
    """What is in view: the filters under which a measure is evaluated.

    Attributes:
        frame: All rows.
        days: The date table.
        in_view: Days that a filter on the date table leaves; None for all.
        kept: Values that a filter on another column leaves, by column.
        by: The column whose relationship with the date table holds.
    """

    frame: pd.DataFrame
    days: tuple[date, ...]
    in_view: frozenset[date] | None = None
    kept: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    by: str = CREATED

    def on(self, *days: date) -> "Context":
        """The same with these days in view alone."""
        return replace(self, in_view=frozenset(days))

    def where(self, **values: object) -> "Context":
        """The same with one value of each of these columns of Postgres."""
        kept = {label(n): (lambda x, v=v: str(x) == str(v)) for n, v in values.items()}
        return replace(self, kept={**self.kept, **kept})

    @cached_property
    def rows(self) -> pd.DataFrame:
        found = self.frame
        if self.in_view is not None:
            found = found[found[self.by].isin(self.in_view)]
        for column, keeps in self.kept.items():
            found = found[[keeps(value) for value in found[column]]]
        return found

    def dates(self) -> list[date]:
        return [d for d in self.days if self.in_view is None or d in self.in_view]


def value_of(measure: str, context: Context) -> Any:
    """What a measure of the model comes to in a context."""
    return _Evaluation(context, {}).of(_parsed(MODEL.measure(measure).expression))


@cache
def _parsed(expression: str) -> Any:
    return dax.to_ast(expression)


class UnknownDaxError(NotImplementedError):
    """A part of DAX that is not known here."""


class _Evaluation:
    """One expression, in a context, with the variables around it."""

    def __init__(self, context: Context, variables: dict[str, Any]) -> None:
        self.context, self.variables = context, variables

    def of(self, node: Any) -> Any:
        match node:
            case exprs.ReturnExpression():
                return self._with_variables(node)
            case exprs.ParenthesesExpression():
                return self.of(node.inner_statement)
            case exprs.IdentifierExpression():
                return self.variables[node.name.text]
            case exprs.MeasureExpression():
                return value_of(node.name.text.strip("[]"), self.context)
            case exprs.AddSubExpression() | exprs.DivMulExpression():
                return self._arithmetic(node)
            case exprs.LogicalExpression() if node.operator.text == "&&":
                return self.of(node.left) and self.of(node.right)
            case exprs.FunctionExpression():
                return self._function(node)
        return _number(node)

    def _with_variables(self, node: Any) -> Any:
        inner = _Evaluation(self.context, dict(self.variables))
        for statement in node.variable_statements:
            name = statement.var_name.text
            inner.variables[name] = inner.of(statement.statement)
        return inner.of(node.ret)

    def _arithmetic(self, node: Any) -> Any:
        sign = node.operator.text
        if isinstance(node.right, exprs.AddSubExpression) and sign == "-":
            raise UnknownDaxError("the parser takes a - b - c for a - (b - c)")
        left, right = self.of(node.left), self.of(node.right)
        if sign == "*":
            return None if left is None or right is None else left * right
        if left is None and right is None:
            return None
        left = 0 if left is None else left
        right = 0 if right is None else right
        if isinstance(left, date) and isinstance(right, int):
            right = timedelta(days=right)
        return left + right if sign == "+" else left - right

    def _function(self, node: Any) -> Any:
        name = "".join(part.text for part in node.name_parts)
        if name in _AGGREGATES and len(node.args) == 1:
            return _AGGREGATES[name](self._column(node.args[0]))
        if name in _ITERATORS:
            return _ITERATORS[name](self._by_row(node.args[1]))
        match name:
            case "COUNTROWS":
                return len(self.context.rows) or None
            case "CALCULATE":
                return _Evaluation(self._filtered(node.args[1:]), {}).of(node.args[0])
            case "IF":
                return self.of(node.args[1]) if self.of(node.args[0]) else None
            case "DATEDIFF":
                return (self.of(node.args[1]) - self.of(node.args[0])).days
        if name not in _SCALARS:
            raise UnknownDaxError(name)
        return _SCALARS[name](*map(self.of, node.args))

    def _column(self, node: Any) -> list[Any]:
        table, column = node.table.text.strip("'"), node.column.text.strip("[]")
        if table == "Date":
            return list(self.context.dates())
        return list(self.context.rows[column])

    def _by_row(self, node: Any) -> list[Any]:
        """An expression for each row: a column, or a product of columns."""
        if isinstance(node, exprs.ColumnExpression):
            return self._column(node)
        if isinstance(node, exprs.DivMulExpression) and node.operator.text == "*":
            pairs = zip(self._by_row(node.left), self._by_row(node.right), strict=True)
            return [one * other for one, other in pairs]
        raise UnknownDaxError(type(node).__name__)

    def _filtered(self, filters: Sequence[Any]) -> Context:
        found = self.context
        for node in filters:
            found = self._with(found, node)
        return found

    def _with(self, context: Context, node: Any) -> Context:
        if isinstance(node, exprs.ComparisonExpression) and node.operator.text == "=":
            wanted = self.of(node.right)
            return _keeping(context, node.left, lambda value: value == wanted)
        name = "".join(part.text for part in node.name_parts)
        if name == "DATESBETWEEN":
            first, last = self.of(node.args[1]), self.of(node.args[2])
            return context.on(*(d for d in context.days if first <= d <= last))
        if name == "REMOVEFILTERS" and not node.args:
            return replace(context, in_view=None, kept={})
        if name == "USERELATIONSHIP":
            return replace(context, by=node.args[0].column.text.strip("[]"))
        if name == "NOT" and node.args[0].name_parts[0].text == "ISBLANK":
            column = node.args[0].args[0]
            return _keeping(context, column, lambda value: value is not None)
        raise UnknownDaxError(name)


def _number(node: Any) -> int:
    if isinstance(node, exprs.AddSubUnaryExpression):
        number = _number(node.number)
        return -number if node.operator.text == "-" else number
    if isinstance(node, exprs.LiteralNumberExpression):
        return int(node.value.text)
    raise UnknownDaxError(type(node).__name__)


def _keeping(context: Context, column: Any, keeps: Callable[[Any], bool]) -> Context:
    name = column.column.text.strip("[]")
    return replace(context, kept={**context.kept, name: keeps})


def _of_some(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda values: function(values) if values else None


def _divide(left: Any, right: Any) -> Any:
    return None if left is None or not right else left / right


def _end_of_month(day: date, months: int) -> date:
    month = day.month - 1 + months
    year, month = day.year + month // 12, month % 12 + 1
    return date(year, month, monthrange(year, month)[1])


_AGGREGATES = {
    "SUM": _of_some(sum),
    "MAX": _of_some(max),
    "MIN": _of_some(min),
    "DISTINCTCOUNT": _of_some(lambda values: len(set(values))),
}
_ITERATORS = {
    "SUMX": _of_some(sum),
    "MAXX": _of_some(max),
    "MEDIANX": _of_some(median),
}
_SCALARS: dict[str, Callable[..., Any]] = {
    "DIVIDE": _divide,
    "MIN": min,
    "MAX": max,
    "EOMONTH": _end_of_month,
    "ISBLANK": lambda value: value is None,
    "NOT": lambda value: not value,
    "TRUE": lambda: True,
}
