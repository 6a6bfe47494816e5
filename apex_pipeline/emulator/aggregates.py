"""`$apply`: filter, groupby and aggregate over at most 50,000 records.

From "Aggregate data using OData": no grouping by date and time, no `$orderby` on what
was aggregated, no distinct counts; results as plain properties, null ones left out, and
a lookup's column as `table_column`. How many places a sum shows is chosen: ten.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from apex_pipeline.emulator import (
    codecs,
    decimals,
    expand_clauses,
    filters,
    paging,
    projections,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.filters import Reference, Scope
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.schema import EmulatedColumn
from apex_pipeline.emulator.storage import Sql
from apex_pipeline.emulator.wire import OperationRequest, Response

MOST_RECORDS = 50_000

_STEP = re.compile(r"\s*(filter|groupby|aggregate)\s*\((.*)\)\s*", re.DOTALL).fullmatch
_COUNT = re.compile(r"\$count\s+as\s+(\w+)")
_EXPRESSION = re.compile(r"([\w/]+)\s+with\s+(\w+)\s+as\s+(\w+)")
_NUMERIC = frozenset({"Edm.Int32", "Edm.Int64", "Edm.Decimal", "Edm.Double"})
_PLACES = Decimal(1).scaleb(-10)
_WHOLE = codecs.WholeNumberCodec("", "")

Shown = list[tuple[str, str, EmulatedColumn | None, Stored]]
"""Members of a result: name, JSON text, the column that formats it, stored value."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One result: a column, a method (`$count` has no column) and its name."""

    of: Reference | None
    method: str
    name: str


@dataclass(frozen=True, slots=True)
class Aggregation:
    """A whole `$apply`, understood."""

    condition: Sql
    groups: tuple[tuple[str, Reference], ...]
    aggregates: tuple[Aggregate, ...]


def apply(call: Call) -> Response:
    """Answer a list request with `$apply`."""
    table, request = call.table, call.request
    call.user.require("Read", table)
    scope = Scope(call.env, call.user, table)
    plan = _understand(scope, request)
    references = [
        *(each for _, each in plan.groups),
        *(each.of for each in plan.aggregates if each.of is not None),
    ]
    condition, values = plan.condition
    rows = call.env.storage.select(
        table,
        ", ".join(["1", *(each.sql for each in references)]),
        condition,
        values,
        limit=MOST_RECORDS + 1,
    )
    if len(rows) > MOST_RECORDS:
        reason = "The maximum record limit is exceeded. Reduce the number of records."
        raise web_api_errors.WebApiError(400, "0x8004e023", reason)
    results = _limited(_results(plan, rows), request)
    shown = [_object(members, request) for members in results]
    context = codecs.quote(f"{request.api}/$metadata#{table.entity_set}")
    body = f'{{"@odata.context":{context},"value":[{",".join(shown)}]}}'
    headers = {"Content-Type": wire.JSON_TYPE, **wire.applied(request)}
    return Response(200, body.encode(), headers, max(1, len(rows)))


def _limited(results: list[Shown], request: OperationRequest) -> list[Shown]:
    """`$top`; pages of aggregates are not documented."""
    results = results[: paging.whole(request.options().get("$top"), "$top")]
    preferred = request.preferences().get("odata.maxpagesize")
    size = paging.whole(preferred, "odata.maxpagesize")
    if size is not None and len(results) > size:
        raise web_api_errors.not_emulated("pages of aggregated results.")
    return results


def _object(members: Shown, request: OperationRequest) -> str:
    formatted = projections.FORMATTED in request.annotations()
    parts = []
    for name, text, column, stored in members:
        format_value = projections.formatter(column) if column and formatted else None
        if format_value is not None:
            shown = codecs.quote(format_value(stored))
            parts.append(f'"{name}@{projections.FORMATTED}":{shown}')
        parts.append(f'"{name}":{text}')
    return "{" + ",".join(parts) + "}"


def _understand(scope: Scope, request: OperationRequest) -> Aggregation:
    options, aliases = request.options(), request.aliases()
    text, also = options["$apply"], options.get("$filter")
    conditions = [] if also is None else [filters.written(also, aliases, scope)]
    groups: tuple[tuple[str, Reference], ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    last = ""
    for name, inner in _steps(text):
        if name == "filter" and last in {"", "filter"}:
            conditions.append(filters.written(inner, aliases, scope))
        elif last not in {"", "filter"}:
            raise web_api_errors.not_emulated(f"{name} after {last} in $apply.")
        elif name == "aggregate":
            aggregates = _aggregates(scope, inner)
        else:
            listed, _, rest = inner.strip().removeprefix("(").partition(")")
            groups = tuple(_group(scope, each.strip()) for each in listed.split(","))
            for nested, expression in _steps(rest.lstrip(" ,")) if rest.strip() else ():
                if nested != "aggregate" or aggregates:
                    raise _malformed(text)
                aggregates = _aggregates(scope, expression)
        last = name
    if last in {"", "filter"}:
        raise web_api_errors.not_emulated("$apply without groupby or aggregate.")
    joined = " AND ".join(sql for sql, _ in conditions) or "1"
    values = [value for _, bound in conditions for value in bound]
    return Aggregation((joined, values), groups, aggregates)


def _steps(text: str) -> list[tuple[str, str]]:
    """`filter(…)/groupby(…)` as names with what stands between their parentheses."""
    found = []
    for part in expand_clauses.split(text, "/"):
        match = _STEP(part)
        if match is None:
            raise _malformed(text)
        found.append((match[1], match[2]))
    return found


def _group(scope: Scope, name: str) -> tuple[str, Reference]:
    """The column, and its name in the answer: `contact_fullname` behind a lookup."""
    found = filters.resolve(name, scope)
    if found.column.kind == "DateTime":
        raise web_api_errors.malformed_url(
            "Grouping by date and time columns is not supported."
        )
    if "/" in name:
        return f"{found.table.name}_{found.column.name}", found
    return found.column.shown_as, found


def _aggregates(scope: Scope, text: str) -> tuple[Aggregate, ...]:
    found = []
    for part in (each.strip() for each in text.split(",")):
        if count := _COUNT.fullmatch(part):
            found.append(Aggregate(None, "count", count[1]))
            continue
        match = _EXPRESSION.fullmatch(part)
        if match is None or match[2] not in {*_METHODS, "countdistinct"}:
            raise _malformed(text)
        if match[2] == "countdistinct":
            # "You can't get a distinct number of values"; the text is chosen.
            raise web_api_errors.malformed_url(
                "countdistinct is not supported in $apply."
            )
        reference = filters.resolve(match[1], scope)
        numeric = reference.column.codec.edm in _NUMERIC
        if match[2] in {"sum", "average"} and not numeric:
            raise web_api_errors.malformed_url(f"{match[1]} is not a number.")
        found.append(Aggregate(reference, match[2], match[3]))
    return tuple(found)


def _results(plan: Aggregation, rows: list[tuple[Stored, ...]]) -> list[Shown]:
    width = len(plan.groups) + 1
    grouped: dict[tuple[object, ...], list[tuple[Stored, ...]]] = {}
    for row in rows:
        key = tuple(v.lower() if isinstance(v, str) else v for v in row[1:width])
        grouped.setdefault(key, []).append(row)
    if not plan.groups:
        grouped = {(): rows}
    results = []
    for members in grouped.values():
        keys = members[0][1:width] if plan.groups else ()
        shown: Shown = [
            (label, each.column.codec.show(value), each.column, value)
            for (label, each), value in zip(plan.groups, keys, strict=True)
            if value is not None
        ]
        place = width
        for aggregate in plan.aggregates:
            if aggregate.of is None:
                count = len(members)
                shown.append((aggregate.name, str(count), _COUNTED, count))
                continue
            column = aggregate.of.column
            held = [row[place] for row in members if row[place] is not None]
            place += 1
            if held or aggregate.method == "sum":
                found = _METHODS[aggregate.method](column, held)
                shown.append((aggregate.name, found[0], column, found[1]))
        results.append(shown)
    return results


def _numbers(column: EmulatedColumn, values: list[Any]) -> list[Decimal]:
    if isinstance(column.codec, decimals.DecimalCodec):
        return [decimals.load_decimal(value, 10) for value in values]
    return [Decimal(str(value)) for value in values]


def _sum(column: EmulatedColumn, values: list[Any]) -> tuple[str, Stored]:
    total = sum(_numbers(column, values), Decimal(0))
    text = str(total) if column.codec.affinity == "INTEGER" else f"{total:f}"
    return text, _stored(column, total)


def _average(column: EmulatedColumn, values: list[Any]) -> tuple[str, Stored]:
    mean = sum(_numbers(column, values), Decimal(0)) / len(values)
    return f"{mean.quantize(_PLACES):f}", _stored(column, mean)


def _stored(column: EmulatedColumn, number: Decimal) -> Stored:
    """A result in the form in which the column's formatter takes it."""
    if isinstance(column.codec, decimals.DecimalCodec):
        return decimals.store_decimal(number, column.codec.precision)
    return int(number) if number == number.to_integral_value() else float(number)


def _least(column: EmulatedColumn, values: list[Any]) -> tuple[str, Stored]:
    return column.codec.show(min(values)), min(values)


def _most(column: EmulatedColumn, values: list[Any]) -> tuple[str, Stored]:
    return column.codec.show(max(values)), max(values)


_METHODS: dict[str, Callable[[EmulatedColumn, list[Any]], tuple[str, Stored]]] = {
    "sum": _sum,
    "average": _average,
    "min": _least,
    "max": _most,
}
_COUNTED = EmulatedColumn("", "", _WHOLE, frozenset(), {"AttributeType": "Integer"})


def _malformed(text: str) -> web_api_errors.WebApiError:
    return web_api_errors.malformed_url(f"Syntax error in $apply '{text[:200]}'.")
