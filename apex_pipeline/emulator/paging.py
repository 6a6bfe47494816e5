"""Order and position of a page, and the opaque token that leads to the next.

The token has the look that Microsoft Learn shows in "Page results": a paging cookie
with the last record's values of the ordering columns, encoded twice. The next page
begins after them, so records that come or go meanwhile shift nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape, unescape

from apex_pipeline.emulator import errors, filters, guids
from apex_pipeline.emulator.codecs import Codec, Stored
from apex_pipeline.emulator.filters import Scope
from apex_pipeline.emulator.storage import quoted

_TOKEN = re.compile(r'<cookie pagenumber="(\d+)" pagingcookie="([^"]*)"')
_VALUE = re.compile(r'<([\w.]+) last(null)?="([^"]*)"')
_QUOTE = {'"': "&quot;"}
_UNQUOTE = {"&quot;": '"'}


@dataclass(frozen=True, slots=True)
class Key:
    """One thing to sort by: its name in the token, its value in SQL."""

    name: str
    sql: str
    codec: Codec
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What to sort by, in turn; the primary key comes last and makes it total.

    Null sorts lowest, in SQLite as in SQL Server.
    """

    keys: tuple[Key, ...]

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
class Position:
    """Where a page begins: its number, and the record before it."""

    page: int
    last: tuple[Stored, ...]


def parse_order(text: str, scope: Scope) -> Order:
    """Read `$orderby`; a column of a lookup's table is named by a path."""
    keys: dict[str, Key] = {}
    for part in text.split(",") if text else []:
        name, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower()
        found = filters.resolve(name, scope)
        if direction not in {"", "asc", "desc"}:
            raise errors.malformed_url(f"Syntax error in $orderby '{part.strip()}'.")
        label = name.replace("/", ".") if "/" in name else found.column.name
        codec = found.column.codec
        keys.setdefault(label, Key(label, found.sql, codec, direction == "desc"))
    last = scope.table.primary_key
    codec = scope.table.columns[last].codec
    keys.setdefault(last, Key(last, f"{scope.name}.{quoted(last)}", codec))
    return Order(tuple(keys.values()))


def write_token(order: Order, position: Position) -> str:
    """A `$skiptoken`, ready for a URL."""
    values = "".join(
        f'<{key.name} last{"null" if value is None else ""}="{_write(value, key)}"/>'
        for key, value in zip(order.keys, position.last, strict=True)
    )
    cookie = f'<cookie page="{position.page - 1}">{values}</cookie>'
    encoded = quote(quote(cookie, safe=""), safe="")
    return quote(
        f'<cookie pagenumber="{position.page}" pagingcookie="{encoded}"'
        ' istracking="False" />',
        safe="",
    )


def read_token(token: str, order: Order) -> Position:
    """The position that `write_token` wrote."""
    malformed = errors.WebApiError(
        400, "0x80040203", "Malformed XML in the Paging Cookie"
    )
    match = _TOKEN.match(token)
    if match is None:
        raise malformed
    found = {
        name: None if null else unescape(value, _UNQUOTE)
        for name, null, value in _VALUE.findall(unquote(unquote(match[2])))
    }
    if list(found) != [key.name for key in order.keys]:
        raise malformed
    try:
        last = tuple(_read(found[key.name], key) for key in order.keys)
    except ValueError:
        raise malformed from None
    return Position(int(match[1]), last)


def _write(value: Stored, key: Key) -> str:
    if value is None:
        return "1"
    if isinstance(key.codec, guids.Guid):
        return "{" + guids.load_guid(str(value)).upper() + "}"
    return escape(str(value), _QUOTE)


def _read(value: str | None, key: Key) -> Stored:
    if value is None:
        return None
    if isinstance(key.codec, guids.Guid):
        return guids.store_guid(value.strip("{}"))
    if key.codec.affinity == "INTEGER":
        return int(value)
    return float(value) if key.codec.affinity == "REAL" else value
