"""Reads records: `$select`, `$filter`, `$orderby`, `$top`, `$count` and pages.

From "Query data using the Web API" and "Page results".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

from apex_pipeline.emulator import (
    codecs,
    errors,
    filters,
    guids,
    odata,
    paging,
    projections,
    wire,
)
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Environment
from apex_pipeline.emulator.filters import Sql
from apex_pipeline.emulator.paging import Order, Position
from apex_pipeline.emulator.projections import Projection
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import quoted
from apex_pipeline.emulator.wire import Request, Response

MOST_PER_PAGE = 5000
Expander = Callable[[str], str]
_IGNORED = {"tag"}
_KNOWN = {
    "$select",
    "$filter",
    "$orderby",
    "$top",
    "$count",
    "$skiptoken",
    "$deltatoken",
    "$expand",
}
_READABLE = "(),'/:@$"
_TOTALS = "Microsoft.Dynamics.CRM.totalrecordcount"


def retrieve(
    env: Environment,
    table: Table,
    record_id: str,
    request: Request,
    expand: Expander | None = None,
) -> Response:
    """One record, by primary key.

    Raises:
        WebApiError: There is none.
    """
    options = request.options()
    _refuse_unknown(options)
    projection = projections.project(table, options.get("$select", ""))
    condition = f"{quoted(table.primary_key)} = ?"
    found = env.storage.select(table, projection.sql(), condition, (record_id,))
    if not found:
        raise errors.no_such_record(table.name, guids.load_guid(record_id))
    etag = f'W/"{found[0][0]}"'
    if request.headers.get("if-none-match") == etag:
        return Response(304)
    context = f"{request.api}/$metadata#{table.entity_set}{projection.context}/$entity"
    annotations = request.preferences().get("odata.include-annotations", "")
    text = projection.shower(annotations)(found[0]) + (
        expand(record_id) if expand else ""
    )
    body = f'{{"@odata.context":{codecs.quote(context)},{text}}}'
    return Response(200, body.encode(), {"Content-Type": wire.JSON_TYPE, "ETag": etag})


@dataclass(frozen=True, slots=True)
class Query:
    """A list request, understood."""

    projection: Projection
    condition: str
    values: list[Stored]
    order: Order
    position: Position | None
    page_size: int
    paged: bool
    counted: bool


def understand(table: Table, request: Request, *, tracked: bool = False) -> Query:
    """Read the query options of a list request; a tracked one has its own token.

    `$top` is ignored where a page size is preferred ("Page results"); a `$top` beyond
    5,000 is a page size of 5,000 (undocumented: chosen).

    Raises:
        WebApiError: An option is unknown or malformed.
    """
    options = request.options()
    _refuse_unknown(options)
    condition, values = "1", list[Stored]()
    if options.get("$filter"):
        aliases = {name: text for name, text in options.items() if name[0] == "@"}
        node = odata.parse_filter(options["$filter"], aliases)
        condition, values = filters.to_sql(node, table)
    order = paging.parse_order(options.get("$orderby", ""), table)
    token = None if tracked else options.get("$skiptoken")
    preferred = request.preferences().get("odata.maxpagesize")
    top = _whole(options.get("$top"), "$top")
    limit = _whole(preferred, "odata.maxpagesize") or MOST_PER_PAGE
    paged = preferred is not None or top is None or top > MOST_PER_PAGE
    return Query(
        projections.project(table, options.get("$select", "")),
        condition,
        values,
        order,
        paging.read_token(token, order, table) if token else None,
        min(limit, MOST_PER_PAGE) if paged else int(top or 0),
        paged,
        options.get("$count", "").lower() == "true",
    )


def list_records(
    env: Environment,
    table: Table,
    request: Request,
    *,
    within: Sql | None = None,
    expand: Expander | None = None,
) -> Response:
    """One page of a table's records, or of those within a condition."""
    query = understand(table, request)
    found = _select(env, table, query, within)
    order, projection = query.order, query.projection
    rows = found[: query.page_size]
    shown = ",".join(_objects(table, query, request, rows, expand))
    context = f"{request.api}/$metadata#{table.entity_set}{projection.context}"
    members = [
        f'"@odata.context":{codecs.quote(context)}',
        *_totals(env, table, query, request),
        f'"value":[{shown}]',
    ]
    if len(found) > len(rows) > 0 and query.paged:
        page = query.position.page if query.position else 1
        last = tuple(rows[-1][len(projection.columns) + 1 :])
        link = _next_link(request, table, order, Position(page + 1, last))
        members.append(f'"@odata.nextLink":{codecs.quote(link)}')
    return Response(
        200,
        ("{" + ",".join(members) + "}").encode(),
        {"Content-Type": wire.JSON_TYPE, **_applied(request)},
        len(rows),
    )


def _select(
    env: Environment, table: Table, query: Query, within: Sql | None
) -> list[tuple[Any, ...]]:
    """The page's rows and one more, each with the ordering columns at its end."""
    condition, values = query.condition, list(query.values)
    if within is not None:
        condition, values = f"({condition}) AND {within[0]}", [*values, *within[1]]
    if query.position is not None:
        behind, more = query.order.after(query.position.last)
        condition, values = f"({condition}) AND {behind}", [*values, *more]
    ordering = ", ".join(quoted(name) for name, _ in query.order.columns)
    return env.storage.select(
        table,
        f"{query.projection.sql()}, {ordering}",
        condition,
        values,
        order=query.order.sql(),
        limit=query.page_size + 1,
    )


def _objects(
    table: Table,
    query: Query,
    request: Request,
    rows: list[tuple[Any, ...]],
    expand: Expander | None,
) -> list[str]:
    """Rows, which end with the ordering columns, as JSON objects."""
    width = len(query.projection.columns) + 1
    key_at = width + [name for name, _ in query.order.columns].index(table.primary_key)
    annotations = request.preferences().get("odata.include-annotations", "")
    show = query.projection.shower(annotations)
    if expand is None:
        return [f"{{{show(row[:width])}}}" for row in rows]
    return [f"{{{show(row[:width])}{expand(row[key_at])}}}" for row in rows]


def count_records(env: Environment, table: Table, request: Request) -> Response:
    """`/$count`, capped like `$count=true` (unverified for this form)."""
    query = understand(table, request)
    number, _ = _count(env, table, query)
    return Response(200, str(number).encode(), {"Content-Type": "text/plain"})


def _count(env: Environment, table: Table, query: Query) -> tuple[int, bool]:
    """At most 5,000, and whether there are more ("Count number of rows")."""
    found = env.storage.rows(
        " ".join(
            (
                "SELECT COUNT(*) FROM (SELECT 1 FROM",
                quoted(table.name),
                "WHERE",
                query.condition,
                "LIMIT",
                f"{MOST_PER_PAGE + 1})",
            )
        ),
        query.values,
    )
    return min(found[0][0], MOST_PER_PAGE), found[0][0] > MOST_PER_PAGE


def _totals(
    env: Environment, table: Table, query: Query, request: Request
) -> list[str]:
    annotations = request.preferences().get("odata.include-annotations", "")
    wanted = annotations == "*" or _TOTALS in annotations
    if not (query.counted or wanted):
        return []
    number, exceeded = _count(env, table, query)
    members = [f'"@odata.count":{number}'] if query.counted else []
    if wanted:
        shown = number if query.counted else -1
        members += [
            f'"@{_TOTALS}":{shown}',
            f'"@{_TOTALS}limitexceeded":{str(exceeded and query.counted).lower()}',
        ]
    return members


def _next_link(request: Request, table: Table, order: Order, position: Position) -> str:
    """The same request with the token of the next page."""
    pairs = (part.partition("=") for part in request.query.split("&") if part)
    kept = [
        f"{unquote_plus(name)}={quote(unquote_plus(value), safe=_READABLE)}"
        for name, _, value in pairs
        if unquote_plus(name) not in {"$skiptoken", "$top"}
    ]
    token = paging.write_token(order, position, table)
    options = "&".join([*kept, f"$skiptoken={token}"])
    return f"{request.api}/{request.path}?{options}"


def _applied(request: Request) -> dict[str, str]:
    preferences = request.preferences()
    applied = [
        f"{name}={value}" if name == "odata.maxpagesize" else f'{name}="{value}"'
        for name, value in preferences.items()
        if name in {"odata.maxpagesize", "odata.include-annotations"}
    ]
    return {"Preference-Applied": ",".join(applied)} if applied else {}


def _refuse_unknown(options: dict[str, Any]) -> None:
    """`$skip` does not exist here; what the service has beyond this answers 501."""
    for name in options:
        if name in _KNOWN or name in _IGNORED or name[0] == "@":
            continue
        if re.fullmatch(r"\$skip|\$search|\$format", name):
            raise errors.malformed_url(f"The query parameter {name} is not supported.")
        raise errors.not_emulated(f"the query option {name}.")


def _whole(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise errors.malformed_url(
            f"Invalid value '{text}' for {name} query option found."
        )
    return int(text)
