"""Order and position of a page, and the opaque token that leads to the next.

The token has the look that Microsoft Learn shows in "Page results": a paging cookie,
encoded twice. In it are the last record's values of the ordering columns (as JSON, which
is chosen: clients take it as it is). The next page begins after them, so records that
come or go meanwhile shift nothing.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote

from apex_pipeline.emulator import filters, web_api_errors
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.filters import Scope
from apex_pipeline.emulator.storage import quoted

_TOKEN = re.compile(r'<cookie pagenumber="(\d+)" pagingcookie="([^"]*)"')


@dataclass(frozen=True, slots=True)
class SortKey:
    """One thing to sort by: its name in the token, its value in SQL."""

    name: str
    sql: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What to sort by, in turn; the primary key comes last and makes it total.

    Null sorts lowest, in SQLite as in SQL Server.
    """

    keys: tuple[SortKey, ...]

    def sql(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(
            f"{key.sql} {'DESC' if key.descending else 'ASC'}" for key in self.keys
        )

    def after(self, last: Sequence[Stored]) -> tuple[str, list[Stored]]:
        """The condition for records behind the given position."""
        condition, values = "0", list[Stored]()
        for key, value in reversed(list(zip(self.keys, last, strict=True))):
            column = key.sql
            if value is None:
                behind = "0" if key.descending else f"{column} IS NOT NULL"
                condition = f"({behind} OR ({column} IS NULL AND {condition}))"
                continue
            behind = (
                f"({column} < ? OR {column} IS NULL)"
                if key.descending
                else f"{column} > ?"
            )
            condition = f"({behind} OR ({column} = ? AND {condition}))"
            values = [value, value, *values]
        return condition, values


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a page begins: its number, and the record before it."""

    page: int
    last: tuple[Stored, ...]


def parse_order(text: str, scope: Scope) -> Order:
    """Read `$orderby`; a column of a lookup's table is named by a path."""
    keys: dict[str, SortKey] = {}
    for part in text.split(",") if text else []:
        name, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower()
        found = filters.resolve(name, scope)
        if direction not in {"", "asc", "desc"}:
            raise web_api_errors.malformed_url(
                f"Syntax error in $orderby '{part.strip()}'."
            )
        label = name.replace("/", ".") if "/" in name else found.column.name
        keys.setdefault(label, SortKey(label, found.sql, direction == "desc"))
    last = scope.table.primary_key
    keys.setdefault(last, SortKey(last, f"{scope.name}.{quoted(last)}"))
    return Order(tuple(keys.values()))


def whole(text: str | None, name: str) -> int | None:
    """A whole number, or None where the option is not given."""
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise web_api_errors.malformed_url(
            f"Invalid value '{text}' for {name} query option found."
        )
    return int(text)


def write_token(order: Order, position: PagePosition) -> str:
    """A `$skiptoken`, ready for a URL."""
    names = [key.name for key in order.keys]
    encoded = quote(quote(json.dumps([names, position.last]), safe=""), safe="")
    return quote(
        f'<cookie pagenumber="{position.page}" pagingcookie="{encoded}"'
        ' istracking="False" />',
        safe="",
    )


def read_token(token: str, order: Order) -> PagePosition:
    """The position that `write_token` wrote."""
    match = _TOKEN.match(token)
    try:
        names, last = json.loads(unquote(unquote(match[2] if match else "")))
    except ValueError:
        raise web_api_errors.malformed_cookie() from None
    if match is None or names != [key.name for key in order.keys]:
        raise web_api_errors.malformed_cookie()
    return PagePosition(int(match[1]), tuple(last))
