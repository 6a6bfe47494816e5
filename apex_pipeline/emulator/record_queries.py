"""Reads records: `$select`, `$filter`, `$orderby`, `$top`, `$count` and pages.

From "Query data using OData" and "Page results".
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

from apex_pipeline.emulator import (
    codecs,
    expansions,
    filters,
    guids,
    paging,
    projections,
    web_api_errors,
    wire,
)
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.filters import Scope
from apex_pipeline.emulator.paging import Order, PagePosition
from apex_pipeline.emulator.places import Call
from apex_pipeline.emulator.projections import Projection
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import Sql
from apex_pipeline.emulator.wire import OperationRequest, Response

MOST_PER_PAGE = 5000
_READABLE = "(),'/:@$"
_TOTALS = "Microsoft.Dynamics.CRM.totalrecordcount"


def retrieve(call: Call, table: Table, record_id: str) -> Response:
    """One record, by primary key.

    From "Perform conditional operations": 304 where nothing has changed, but never with
    annotations or `$expand`, whose records may have.
    """
    env, request = call.env, call.request
    projection = projections.project(table, request.options().get("$select", ""))
    row = env.storage.of_record(table, projection.sql(), record_id)
    if row is None:
        raise web_api_errors.no_such_record(table.name, guids.load_guid(record_id))
    etag = f'W/"{row[0]}"'
    annotations = request.annotations()
    expansion = expansions.expand(call, table)
    unchanged = request.headers.get("if-none-match") == etag
    if unchanged and not annotations.patterns and not expansion.contexts:
        return Response(304)
    context = f"{table.entity_set}{projection.context(*expansion.contexts)}/$entity"
    text = projection.shower(env, annotations)(row) + expansion.of(record_id)
    address = codecs.quote(f"{request.api}/$metadata#{context}")
    body = f'{{"@odata.context":{address},{text}}}'
    headers = {"Content-Type": wire.JSON_TYPE, "ETag": etag, **wire.applied(request)}
    return Response(200, body.encode(), headers)


@dataclass(frozen=True, slots=True)
class Query:
    """A list request, understood."""

    projection: Projection
    condition: str
    values: list[Stored]
    order: Order
    position: PagePosition | None
    page_size: int
    paged: bool
    counted: bool


def understand(
    scope: Scope,
    request: OperationRequest,
    within: Sql = ("1", []),
    *,
    tracked: bool = False,
) -> Query:
    """Read the query options of a list request; a tracked one has its own token.

    `$top` is ignored where a page size is preferred ("Page results"); a `$top` beyond
    5,000 is a page size of 5,000 (undocumented: chosen).
    """
    options = request.options()
    condition, values = within
    if "$filter" in options:
        sql, more = filters.written(options["$filter"], request.aliases(), scope)
        condition, values = f"({sql}) AND {condition}", [*more, *values]
    order = paging.parse_order(options.get("$orderby", ""), scope)
    token = None if tracked else options.get("$skiptoken")
    preferred = request.preferences().get("odata.maxpagesize")
    top = paging.whole(options.get("$top"), "$top")
    limit = paging.whole(preferred, "odata.maxpagesize") or MOST_PER_PAGE
    paged = preferred is not None or top is None or top > MOST_PER_PAGE
    counted = options.get("$count", "false").lower()
    if counted not in {"true", "false"}:
        raise web_api_errors.malformed_url(f"Invalid value '{counted}' for $count.")
    return Query(
        projections.project(scope.table, options.get("$select", "")),
        condition,
        values,
        order,
        paging.read_token(token, order) if token else None,
        min(limit, MOST_PER_PAGE) if paged else int(top or 0),
        paged,
        counted == "true",
    )


def list_records(call: Call, table: Table, within: Sql = ("1", [])) -> Response:
    """One page of a table's records, or of those within a condition."""
    call.user.require("Read", table)
    env, request = call.env, call.request
    query = understand(Scope(env, call.user, table), request, within)
    expansion = expansions.expand(call, table)
    found = _select(env, table, query)
    order, projection = query.order, query.projection
    rows = found[: query.page_size]
    width = len(projection.columns) + 1
    key_at = width + [key.name for key in order.keys].index(table.primary_key)
    show = projection.shower(env, request.annotations())
    shown = [f"{{{show(row[:width])}{expansion.of(row[key_at])}}}" for row in rows]
    context = f"{table.entity_set}{projection.context(*expansion.contexts)}"
    members = [
        f'"@odata.context":{codecs.quote(f"{request.api}/$metadata#{context}")}',
        *_totals(env, table, query, request),
        f'"value":[{",".join(shown)}]',
    ]
    if len(found) > len(rows) > 0 and query.paged:
        page = query.position.page if query.position else 1
        link = _next_link(
            request, order, PagePosition(page + 1, tuple(rows[-1][width:]))
        )
        members.append(f'"@odata.nextLink":{codecs.quote(link)}')
    return Response(
        200,
        ("{" + ",".join(members) + "}").encode(),
        {"Content-Type": wire.JSON_TYPE, **wire.applied(request)},
        len(rows),
    )


def _select(
    env: EmulatedEnvironment, table: Table, query: Query
) -> list[tuple[Any, ...]]:
    """The page's rows and one more, each with the ordering columns at its end."""
    condition, values = query.condition, query.values
    if query.position is not None:
        behind, more = query.order.after(query.position.last)
        condition, values = f"({condition}) AND {behind}", [*values, *more]
    ordering = ", ".join(key.sql for key in query.order.keys)
    return env.storage.select(
        table,
        f"{query.projection.sql()}, {ordering}",
        condition,
        values,
        order=query.order.sql(),
        limit=query.page_size + 1,
    )


def count_records(call: Call) -> Response:
    """`/$count`, capped like `$count=true` (unverified for this form)."""
    call.user.require("Read", call.table)
    query = understand(Scope(call.env, call.user, call.table), call.request)
    number, _ = _count(call.env, call.table, query)
    return Response(200, str(number).encode(), {"Content-Type": "text/plain"})


def _count(env: EmulatedEnvironment, table: Table, query: Query) -> tuple[int, bool]:
    """At most 5,000, and whether there are more ("Count number of rows")."""
    limit = MOST_PER_PAGE + 1
    found = env.storage.select(table, "1", query.condition, query.values, limit=limit)
    return min(len(found), MOST_PER_PAGE), len(found) > MOST_PER_PAGE


def _totals(
    env: EmulatedEnvironment, table: Table, query: Query, request: OperationRequest
) -> list[str]:
    number, exceeded = _count(env, table, query) if query.counted else (-1, False)
    totals = {_TOTALS: str(number), f"{_TOTALS}limitexceeded": str(exceeded).lower()}
    annotations = request.annotations()
    return [
        *([f'"@odata.count":{number}'] if query.counted else ()),
        *(f'"@{name}":{text}' for name, text in totals.items() if name in annotations),
    ]


def _next_link(request: OperationRequest, order: Order, position: PagePosition) -> str:
    """The same request with the token of the next page."""
    pairs = (part.partition("=") for part in request.query.split("&") if part)
    kept = [
        f"{unquote_plus(name)}={quote(unquote_plus(value), safe=_READABLE)}"
        for name, _, value in pairs
        if unquote_plus(name) not in {"$skiptoken", "$top"}
    ]
    token = paging.write_token(order, position)
    options = "&".join([*kept, f"$skiptoken={token}"])
    return f"{request.api}/{request.path}?{options}"
