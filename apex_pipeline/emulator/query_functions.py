"""Dataverse's query functions in `$filter`, such as LastXDays and In.

From "Web API query functions", which gives their names and parameters. Where a span
begins is left open there and chosen here: days and longer spans begin at midnight UTC;
`LastX…` ends now, and `OlderThanX…` is what lies before `LastX…`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apex_pipeline.emulator import errors, guids
from apex_pipeline.emulator.codecs import Stored
from apex_pipeline.emulator.environment import Clock
from apex_pipeline.emulator.schema import Column
from apex_pipeline.emulator.security import Principal
from apex_pipeline.emulator.storage import Sql
from apex_pipeline.emulator.system_tables import ROOT_BUSINESS_UNIT

Asked = tuple[Clock, Principal]
Moment = datetime
Span = tuple[Moment | None, Moment | None]

# Those whose values are compared with the column's.
TAKING_VALUES = (".In", ".NotIn", ".Between", ".NotBetween")
_LISTS = {"In": "{} IN ({})", "NotIn": "{} NOT IN ({})"}
_RANGES = {"Between": "{} BETWEEN ? AND ?", "NotBetween": "{} NOT BETWEEN ? AND ?"}
_MOST = 10_000


def to_sql(
    full_name: str, column: Column, sql: str, values: list[Stored], asked: Asked
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
    if name in _IDENTITIES and not values:
        _require(column.codec.edm == "Edm.Guid", full_name, column)
        own = user.user_id if name.endswith("UserId") else ROOT_BUSINESS_UNIT
        identity = guids.store_guid(own)
        return f"({sql} {'<>' if name.startswith('Not') else '='} ?)", [identity]
    now = datetime.fromtimestamp(clock.now(), UTC)
    span = _span(name, [str(each) for each in values], now)
    if span is None:
        raise errors.not_emulated(f"the query function {full_name} in $filter.")
    _require(column.kind == "DateTime", full_name, column)
    length = len("2025-10-30") if column.codec.edm == "Edm.Date" else None
    conditions, bound = [], list[Stored]()
    for edge, operator in zip(span, (">=", "<"), strict=True):
        if edge is not None:
            conditions.append(f"{sql} {operator} ?")
            bound.append(f"{edge:%Y-%m-%dT%H:%M:%SZ}"[:length])
    return f"({' AND '.join(conditions)})", bound


def _require(fits: bool, full_name: str, column: Column) -> None:  # noqa: FBT001 # a check
    if not fits:
        raise errors.malformed_url(
            f"{full_name} is not valid for the {column.kind} column {column.name}."
        )


def _span(name: str, values: list[str], now: Moment) -> Span | None:
    if name in _NAMED and not values:
        return _NAMED[name](now)
    if name in _ON and len(values) == 1:
        try:
            given = datetime.fromisoformat(values[0])
            day = _midnight(given.astimezone(UTC) if given.tzinfo else given)
        except ValueError:
            raise errors.incompatible("Edm.Date", "Edm.String", name) from None
        return _ON[name](day)
    for prefix in ("LastX", "NextX", "OlderThanX"):
        unit = name.removeprefix(prefix)
        if unit != name and unit in _UNITS and len(values) == 1:
            if unit == "Minutes" and prefix != "OlderThanX":
                return None
            if not values[0].isdigit() or not 0 < int(values[0]) <= _MOST:
                raise errors.malformed_url(f"{name} needs a whole number above 0.")
            return _counted(prefix, unit, int(values[0]), now)
    return None


def _counted(prefix: str, unit: str, count: int, now: Moment) -> Span:
    shifted = _shifted(now, unit, count if prefix == "NextX" else -count)
    short = unit in {"Minutes", "Hours"}
    if prefix == "NextX":
        end = shifted if short else _midnight(shifted) + timedelta(days=1)
        return now, end + timedelta(seconds=1 if short else 0)
    start = shifted if short else _midnight(shifted)
    return (
        (None, start) if prefix == "OlderThanX" else (start, now + timedelta(seconds=1))
    )


def _shifted(now: Moment, unit: str, count: int) -> Moment:
    if unit in {"Months", "Years"}:
        return _months(now, count * (12 if unit == "Years" else 1))
    return now + count * _UNITS[unit]


def _months(moment: Moment, count: int) -> Moment:
    """So many months on; a day that the month lacks becomes its last."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + count, 12)
    first = moment.replace(year=min(max(year, 1), 9998), month=month + 1, day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=min(moment.day, (following - first).days) - 1)


def _midnight(moment: Moment) -> Moment:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _days(now: Moment, first: int, count: int) -> Span:
    start = _midnight(now) + timedelta(days=first)
    return start, start + timedelta(days=count)


_UNITS = {
    "Minutes": timedelta(minutes=1),
    "Hours": timedelta(hours=1),
    "Days": timedelta(days=1),
    "Weeks": timedelta(weeks=1),
    "Months": timedelta(),
    "Years": timedelta(),
}
_NAMED: dict[str, Callable[[Moment], Span]] = {
    "Yesterday": lambda now: _days(now, -1, 1),
    "Today": lambda now: _days(now, 0, 1),
    "Tomorrow": lambda now: _days(now, 1, 1),
    "Last7Days": lambda now: _counted("LastX", "Days", 7, now),
    "Next7Days": lambda now: _counted("NextX", "Days", 7, now),
}
_ON: dict[str, Callable[[Moment], Span]] = {
    "On": lambda day: (day, day + timedelta(days=1)),
    "OnOrAfter": lambda day: (day, None),
    "OnOrBefore": lambda day: (None, day + timedelta(days=1)),
}
_IDENTITIES = ("EqualUserId", "NotEqualUserId", "EqualBusinessId", "NotEqualBusinessId")

NAMES = (
    *(*_LISTS, *_RANGES, *_IDENTITIES, *_NAMED, *_ON),
    *(f"LastX{unit}" for unit in _UNITS if unit != "Minutes"),
    *(f"NextX{unit}" for unit in _UNITS if unit != "Minutes"),
    *(f"OlderThanX{unit}" for unit in _UNITS),
)
"""All that are emulated."""
