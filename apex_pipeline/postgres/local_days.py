"""Where days begin in a time zone, as Postgres has it.

Postgres and Python each bring time-zone data, and one may be older: in autumn 2026 Cuba
keeps its summer time for the first, and not for the second. Rows are grouped by Postgres,
so its data decide everywhere.
"""

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import Connection


def first_instant(midnight: str, zone: str) -> str:
    """SQL for the first instant of a date, by its midnight without a time zone.

    Midnight by itself would not do: where the clock is put back at one o'clock (Azores,
    Cuba) it comes twice, and Postgres means the second.
    """
    return (
        f"least(({midnight}) AT TIME ZONE {zone}, "
        f"({midnight} - interval '1 hour') AT TIME ZONE {zone} + interval '1 hour')"
    )


_DATES = """
    SELECT (%(at)s::timestamptz AT TIME ZONE zone.name)::date
    FROM unnest(%(zones)s::text[]) WITH ORDINALITY AS zone (name, position)
    ORDER BY position
"""

_STARTS = f"""
    SELECT midnight::date, {first_instant("midnight", "%(zone)s")}
    FROM generate_series(%(first)s::timestamp, %(last)s, interval '1 day') AS midnight
    ORDER BY midnight
"""  # noqa: S608  constants


def dates_at(connection: Connection, at: datetime, zones: Sequence[str]) -> list[date]:
    """The date in each time zone at an instant, in the order of *zones*."""
    rows = connection.exec_driver_sql(_DATES, {"at": at, "zones": list(zones)})
    return [day for (day,) in rows]


def day_starts(
    connection: Connection, zone: str, first: date, last: date
) -> list[tuple[date, datetime]]:
    """Each date from *first* to *last*, and the instant at which it begins in *zone*."""
    values = {"zone": zone, "first": first, "last": last}
    rows = connection.exec_driver_sql(_STARTS, values)
    return [(day, at) for day, at in rows]
