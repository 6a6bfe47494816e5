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

from apex_pipeline.emulator import errors, guids
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.schema import Table
from apex_pipeline.emulator.storage import quoted

_TOKEN = re.compile(r'<cookie pagenumber="(\d+)" pagingcookie="([^"]*)"')
_VALUE = re.compile(r'<(\w+) last(null)?="([^"]*)"')
_QUOTE = {'"': "&quot;"}
_UNQUOTE = {"&quot;": '"'}


@dataclass(frozen=True, slots=True)
class Order:
    """Columns to sort by, in turn; the primary key comes last and makes it total.

    Null sorts lowest, in SQLite as in SQL Server.
    """

    columns: tuple[tuple[str, bool], ...]
    """Logical name, and whether descending."""

    def sql(self) -> str:
        """What follows ORDER BY."""
        return ", ".join(
            f"{quoted(name)} {'DESC' if descending else 'ASC'}"
            for name, descending in self.columns
        )

    def after(self, last: Sequence[Stored]) -> tuple[str, list[Stored]]:
        """The condition for records behind the given position."""
        condition, values = "0", list[Stored]()
        for (name, descending), value in reversed(
            list(zip(self.columns, last, strict=True))
        ):
            column = quoted(name)
            if value is None:
                behind = "0" if descending else f"{column} IS NOT NULL"
                condition = f"({behind} OR ({column} IS NULL AND {condition}))"
                continue
            behind = (
                f"({column} < ? OR {column} IS NULL)" if descending else f"{column} > ?"
            )
            condition = f"({behind} OR ({column} = ? AND {condition}))"
            values = [value, value, *values]
        return condition, values


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: its number, and the record before it."""

    page: int
    last: tuple[Stored, ...]


def parse_order(text: str, table: Table) -> Order:
    """Read `$orderby`.

    Raises:
        WebApiError: A column is unknown or the direction is neither asc nor desc.
    """
    columns: list[tuple[str, bool]] = []
    for part in text.split(",") if text else []:
        name, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower()
        column = table.shown(name)
        if column is None:
            raise errors.no_such_property(name, table.name)
        if direction not in {"", "asc", "desc"}:
            raise errors.malformed_url(f"Syntax error in $orderby '{part.strip()}'.")
        if column.name not in {each for each, _ in columns}:
            columns.append((column.name, direction == "desc"))
    if table.primary_key not in {each for each, _ in columns}:
        columns.append((table.primary_key, False))
    return Order(tuple(columns))


def write_token(order: Order, position: Position, table: Table) -> str:
    """A `$skiptoken`, ready for a URL."""
    values = "".join(
        f'<{name} last{"null" if value is None else ""}="{_write(value, name, table)}"/>'
        for (name, _), value in zip(order.columns, position.last, strict=True)
    )
    cookie = f'<cookie page="{position.page - 1}">{values}</cookie>'
    encoded = quote(quote(cookie, safe=""), safe="")
    return quote(
        f'<cookie pagenumber="{position.page}" pagingcookie="{encoded}"'
        ' istracking="False" />',
        safe="",
    )


def read_token(token: str, order: Order, table: Table) -> Position:
    """The position that `write_token` wrote.

    Raises:
        WebApiError: The token is not one of ours, or belongs to another order.
    """
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
    if list(found) != [name for name, _ in order.columns]:
        raise malformed
    try:
        last = tuple(_read(value, name, table) for name, value in found.items())
    except (ValueError, KeyError):
        raise malformed from None
    return Position(int(match[1]), last)


def _write(value: Stored, name: str, table: Table) -> str:
    if value is None:
        return "1"
    if isinstance(table.columns[name].codec, guids.Guid):
        return "{" + guids.load_guid(str(value)).upper() + "}"
    return escape(str(value), _QUOTE)


def _read(value: str | None, name: str, table: Table) -> Stored:
    codec = table.columns[name].codec
    if value is None:
        return None
    if isinstance(codec, guids.Guid):
        return guids.store_guid(value.strip("{}"))
    if codec.affinity == "INTEGER":
        return int(value)
    return float(value) if codec.affinity == "REAL" else value
