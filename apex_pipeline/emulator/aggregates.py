"""`$apply`: filter, groupby and aggregate over at most 50,000 records.

From "Aggregate data using OData": no grouping by date and time, no `$orderby` on what
was aggregated, results as plain properties. How many places a sum shows is chosen: ten.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apex_pipeline.emulator import codecs, decimals, errors, filters, odata, wire
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.filters import Sql
from apex_pipeline.emulator.schema import Column, Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Request, Response

MOST_RECORDS = 50_000

_STEP = re.compile(r"\s*(filter|groupby|aggregate)\s*\(")
_COUNT = re.compile(r"\$count\s+as\s+(\w+)")
_EXPRESSION = re.compile(r"(\w+)\s+with\s+(\w+)\s+as\s+(\w+)")
_PLACES = Decimal(1).scaleb(-10)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One result: a column, a method (`$count` has no column) and its name."""

    column: Column | None
    method: str
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole `$apply`, understood."""

    condition: Sql
    groups: tuple[Column, ...]
    aggregates: tuple[Aggregate, ...]


def apply(env: Environment, table: Table, request: Request) -> Response:
    """Answer a list request with `$apply`.

    Raises:
        WebApiError: The expression is malformed, or the input has too many records.
    """
    options = request.options()
    for name in ("$orderby", "$select", "$skiptoken"):
        if name in options:
            raise errors.not_emulated(f"{name} together with $apply.")
    plan = _understand(table, options["$apply"], options.get("$filter"))
    columns = [
        *plan.groups,
        *(each.column for each in plan.aggregates if each.column is not None),
    ]
    condition, values = plan.condition
    rows = env.storage.select(
        table,
        ", ".join(["1", *(quoted(column.name) for column in columns)]),
        condition,
        values,
        limit=MOST_RECORDS + 1,
    )
    if len(rows) > MOST_RECORDS:
        raise errors.WebApiError(
            400,
            "0x8004e023",
            "The maximum record limit is exceeded. Reduce the number of records.",
        )
    shown = _results(plan, rows)
    context = codecs.quote(f"{request.api}/$metadata#{table.entity_set}")
    body = f'{{"@odata.context":{context},"value":[{",".join(shown)}]}}'
    return Response(
        200, body.encode(), {"Content-Type": wire.JSON_TYPE}, max(1, len(rows))
    )


def _understand(table: Table, text: str, also: str | None) -> Plan:
    conditions = [filters.to_sql(odata.parse_filter(also), table)] if also else []
    groups: tuple[Column, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    for name, inner in _steps(text):
        if name == "filter":
            conditions.append(filters.to_sql(odata.parse_filter(inner), table))
        elif name == "aggregate":
            aggregates = _aggregates(table, inner)
        else:
            listed, _, rest = inner.strip().removeprefix("(").partition(")")
            groups = tuple(_group(table, each.strip()) for each in listed.split(","))
            for nested, expression in _steps(rest.lstrip(" ,")):
                if nested != "aggregate":
                    raise _malformed(text)
                aggregates = _aggregates(table, expression)
    joined = " AND ".join(sql for sql, _ in conditions) or "1"
    values = [value for _, bound in conditions for value in bound]
    return Plan((joined, values), groups, aggregates)


def _steps(text: str) -> list[tuple[str, str]]:
    """`filter(…)/groupby(…)` as names with what stands between their parentheses."""
    found = []
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            raise _malformed(text)
        end = _closing(text, match.end())
        found.append((match[1], text[match.end() : end]))
        place = end + 1
        if text[place : place + 1] == "/":
            place += 1
        elif text[place:].strip():
            raise _malformed(text)
        else:
            break
    return found


def _closing(text: str, start: int) -> int:
    depth, inside = 1, False
    for place in range(start, len(text)):
        if text[place] == "'":
            inside = not inside
        elif not inside:
            depth += {"(": 1, ")": -1}.get(text[place], 0)
            if depth == 0:
                return place
    raise _malformed(text)


def _group(table: Table, name: str) -> Column:
    column = table.shown(name)
    if column is None:
        raise errors.no_such_property(name, table.name)
    if column.kind == "DateTime":
        raise errors.malformed_url(
            "Grouping by date and time columns is not supported."
        )
    return column


def _aggregates(table: Table, text: str) -> tuple[Aggregate, ...]:
    found = []
    for part in (each.strip() for each in text.split(",")):
        if count := _COUNT.fullmatch(part):
            found.append(Aggregate(None, "count", count[1]))
            continue
        match = _EXPRESSION.fullmatch(part)
        if match is None or match[2] not in _METHODS:
            raise _malformed(text)
        column = table.shown(match[1])
        if column is None:
            raise errors.no_such_property(match[1], table.name)
        numeric = column.codec.edm in {
            "Edm.Int32",
            "Edm.Int64",
            "Edm.Decimal",
            "Edm.Double",
        }
        if match[2] in {"sum", "average"} and not numeric:
            raise errors.malformed_url(f"{match[1]} is not a number.")
        found.append(Aggregate(column, match[2], match[3]))
    return tuple(found)


def _results(plan: Plan, rows: list[tuple[Stored, ...]]) -> list[str]:
    width = len(plan.groups) + 1
    grouped: dict[tuple[object, ...], list[tuple[Stored, ...]]] = {}
    for row in rows:
        key = tuple(v.lower() if isinstance(v, str) else v for v in row[1:width])
        grouped.setdefault(key, []).append(row)
    if not plan.groups:
        grouped = {(): rows}
    shown = []
    for members in grouped.values():
        parts = [
            f'"{column.shown_as}":{_show(column, value)}'
            for column, value in zip(
                plan.groups, members[0][1:] if members else (), strict=False
            )
        ]
        place = width
        for each in plan.aggregates:
            if each.column is None:
                parts.append(f'"{each.name}":{len(members)}')
                continue
            held = [row[place] for row in members if row[place] is not None]
            parts.append(f'"{each.name}":{_METHODS[each.method](each.column, held)}')
            place += 1
        shown.append("{" + ",".join(parts) + "}")
    return shown


def _show(column: Column, value: Stored) -> str:
    return "null" if value is None else column.codec.show(value)


def _numbers(column: Column, values: list[Any]) -> list[Decimal]:
    if isinstance(column.codec, decimals.DecimalNumber):
        return [decimals.load_decimal(value, 10) for value in values]
    return [Decimal(str(value)) for value in values]


def _sum(column: Column, values: list[Any]) -> str:
    total = sum(_numbers(column, values), Decimal(0))
    return str(total) if column.codec.affinity == "INTEGER" else f"{total:f}"


def _average(column: Column, values: list[Any]) -> str:
    if not values:
        return "null"
    mean = sum(_numbers(column, values), Decimal(0)) / len(values)
    return f"{mean.quantize(_PLACES):f}"


def _count_distinct(column: Column, values: list[Any]) -> str:
    folded = column.codec.affinity.endswith("NOCASE")
    return str(len({each.lower() if folded else each for each in values}))


_METHODS: dict[str, Callable[[Column, list[Any]], str]] = {
    "sum": _sum,
    "average": _average,
    "min": lambda column, values: _show(column, min(values, default=None)),
    "max": lambda column, values: _show(column, max(values, default=None)),
    "countdistinct": _count_distinct,
}


def _malformed(text: str) -> errors.WebApiError:
    return errors.malformed_url(f"Syntax error in $apply '{text[:200]}'.")
