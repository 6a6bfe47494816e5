"""Dataverse's query functions in `$filter`, such as LastXDays and In.

From "Web API query functions", which gives their names and parameters. Where a span
begins is left open there and chosen here: days and longer spans begin at midnight UTC;
`LastX…` ends now, and `OlderThanX…` is what lies before `LastX…`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apex_pipeline.emulator import guids, web_api_errors
from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.schema import EmulatedColumn
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import Sql

Asked = tuple[Clock, Principal]
Span = tuple[datetime | None, datetime | None]

_LISTS = {"In": "{} IN ({})", "NotIn": "{} NOT IN ({})"}
_RANGES = {"Between": "{} BETWEEN ? AND ?", "NotBetween": "{} NOT BETWEEN ? AND ?"}
TAKING_VALUES = tuple(f".{name}" for name in (*_LISTS, *_RANGES))
"""Those whose values are compared with the column's."""
_MOST = 10_000
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
_UNITS = {
    "Minutes": timedelta(minutes=1),
    "Hours": timedelta(hours=1),
    "Days": _DAY,
    "Weeks": timedelta(weeks=1),
    "Months": timedelta(),
    "Years": timedelta(),
}


def to_sql(
    full_name: str, column: EmulatedColumn, sql: str, values: list[Stored], asked: Asked
) -> Sql:
    """The condition that a call is.

    Args:
        full_name: With its namespace.
        column: What PropertyName names.
        sql: The same in SQL.
        values: In stored form for `TAKING_VALUES`, else as text.
        asked: Who asks, and when.
    """
    clock, user = asked
    name = full_name.rpartition(".")[2]
    if name in _LISTS and values:
        return f"({_LISTS[name].format(sql, ', '.join('?' * len(values)))})", values
    if name in _RANGES and len(values) == 2:
        return f"({_RANGES[name].format(sql)})", values
    if name == "EqualUserId" and not values:
        _require(column.codec.edm == "Edm.Guid", full_name, column)
        return f"({sql} = ?)", [guids.store_guid(user.user_id)]
    now = datetime.fromtimestamp(clock.now(), UTC)
    span = _span(name, [str(each) for each in values], now)
    if span is None:
        raise web_api_errors.not_emulated(f"the query function {full_name} in $filter.")
    _require(column.kind == "DateTime", full_name, column)
    length = len("2025-10-30") if column.codec.edm == "Edm.Date" else None
    conditions, bound = [], list[Stored]()
    for edge, operator in zip(span, (">=", "<"), strict=True):
        if edge is not None:
            conditions.append(f"{sql} {operator} ?")
            bound.append(f"{edge:%Y-%m-%dT%H:%M:%SZ}"[:length])
    return f"({' AND '.join(conditions)})", bound


def _require(fits: bool, full_name: str, column: EmulatedColumn) -> None:  # noqa: FBT001 # a check
    if not fits:
        raise web_api_errors.malformed_url(
            f"{full_name} is not valid for the {column.kind} column {column.name}."
        )


def _span(name: str, values: list[str], now: datetime) -> Span | None:
    if name in _NAMED and not values:
        return _NAMED[name](_midnight(now))
    if name in _ON and len(values) == 1:
        try:
            given = datetime.fromisoformat(values[0])
        except ValueError:
            raise web_api_errors.incompatible("Edm.Date", "Edm.String", name) from None
        return _ON[name](_midnight(given.astimezone(UTC) if given.tzinfo else given))
    prefix, _, unit = name.partition("X")
    if f"{prefix}X{unit}" not in _COUNTED or len(values) != 1:
        return None
    if not values[0].isdigit() or not 0 < int(values[0]) <= _MOST:
        raise web_api_errors.malformed_url(f"{name} needs a whole number above 0.")
    start = _ago(now, unit, int(values[0]))
    if unit not in {"Minutes", "Hours"}:
        start = _midnight(start)
    return (None, start) if prefix == "OlderThan" else (start, now + _SECOND)


def _ago(now: datetime, unit: str, count: int) -> datetime:
    """So many units back; a day that a month lacks becomes its last."""
    months = {"Months": count, "Years": 12 * count}.get(unit)
    if months is None:
        return now - count * _UNITS[unit]
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    first = now.replace(year=max(year, 1), month=month + 1, day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=min(now.day, (following - first).days) - 1)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


_NAMED: dict[str, Callable[[datetime], Span]] = {
    "Yesterday": lambda today: (today - _DAY, today),
    "Today": lambda today: (today, today + _DAY),
}
_ON: dict[str, Callable[[datetime], Span]] = {
    "On": lambda day: (day, day + _DAY),
    "OnOrAfter": lambda day: (day, None),
    "OnOrBefore": lambda day: (None, day + _DAY),
}
_COUNTED = (
    *(f"LastX{unit}" for unit in _UNITS if unit != "Minutes"),
    *(f"OlderThanX{unit}" for unit in _UNITS),
)
NAMES = frozenset({*_LISTS, *_RANGES, "EqualUserId", *_NAMED, *_ON, *_COUNTED})
"""All that are emulated."""
