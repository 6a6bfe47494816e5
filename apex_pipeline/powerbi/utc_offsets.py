"""How far a time zone is from UTC, and since when: what the model's parameter holds.

Power Query knows no time zone by name. So the parameter lists each change, and the query
looks up the last one before an instant.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)


def utc_changes(zone: str, first_year: int, last_year: int) -> str:
    """The parameter's value: `Europe/Berlin; 0001-01-01T00:00 60; 2026-03-29T01:00 120`.

    Args:
        zone: An IANA name.
        first_year: What was before is taken to be as at its beginning.
        last_year: The last whose changes are listed.
    """
    begin = datetime(first_year, 1, 1, tzinfo=UTC)
    end = datetime(last_year + 1, 1, 1, tzinfo=UTC)
    listed = [zone, f"0001-01-01T00:00 {_minutes(zone, begin)}"]
    listed += [
        f"{at:%Y-%m-%dT%H:%M} {_minutes(zone, at)}" for at in _changes(zone, begin, end)
    ]
    return "; ".join(listed)


def _changes(zone: str, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The instants at which the distance becomes another, to the minute."""
    day = begin
    while day < end:
        following = day + _DAY
        if _minutes(zone, day) != _minutes(zone, following):
            low, high = day, following
            while high - low > _MINUTE:
                middle = low + (high - low) // _MINUTE // 2 * _MINUTE
                if _minutes(zone, middle) == _minutes(zone, day):
                    low = middle
                else:
                    high = middle
            yield high
        day = following


def _minutes(zone: str, at: datetime) -> int:
    distance = at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta(0)
    return round(distance / _MINUTE)
