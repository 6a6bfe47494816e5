"""Compare Postgres's time-zone data with Python's.

Postgres decides where a day begins. Python's data decide when Dagster offers a day's
partition, and which time of day the panel shows.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from apex_pipeline.monitoring.doctor.check_results import Measurement, ok, warning
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.local_days import day_starts

TARGET = "days begin at the same time in Postgres and Python"
REMEDY = (
    "Set APEX_TIME_ZONE to a name in Postgres's view pg_timezone_names, or update "
    "Postgres."
)
_UPDATE = (
    "Rollups, forecasts and files follow Postgres. Update the older of the two: Postgres "
    "with its server, Python with this machine's package tzdata or, if it has none, with "
    "`pip install -U tzdata`. If Postgres changes, rebuild the named days: run "
    "refresh_daily_rollups and refresh_weekly_rollups for them. CET, EET, MET and WET are "
    "fixed offsets in Postgres: name a city instead, such as Europe/Berlin."
)

_AHEAD = timedelta(days=366)
_DAY = timedelta(days=1)
_SHOWN = 3


def compare(
    database: Database, zones: Sequence[str], first: date, today: date
) -> Measurement:
    """Compare the start of each day from *first* to a year after *today*.

    Raises:
        DatabaseError: Postgres did not answer, or does not know a zone.
    """
    last = today + _AHEAD
    differences = []
    for zone in zones:
        starts = database.ask(day_starts, zone, first, last)
        differing = [day for day, at in starts if at.timestamp() != _start(day, zone)]
        if differing:
            differences.append(f"{zone} from {', '.join(_ranges(differing))}")
    if differences:
        return warning(
            f"days begin at different times: {'; '.join(differences)}", _UPDATE
        )
    return ok(f"{', '.join(zones)} from {first} to {last}")


def _start(day: date, zone: str) -> float:
    # Of a midnight that comes twice, the first. As a number: Python holds no such time
    # equal to one of another zone.
    return datetime.combine(day, time(), ZoneInfo(zone)).timestamp()


def _ranges(days: Sequence[date]) -> Iterator[str]:
    """Ascending days as ranges in words, the first few of them."""
    firsts = [day for day in days if day - _DAY not in set(days)]
    lasts = [day for day in days if day + _DAY not in set(days)]
    for first, last in list(zip(firsts, lasts, strict=True))[:_SHOWN]:
        yield f"{first} to {last}"
    if len(firsts) > _SHOWN:
        yield f"and {len(firsts) - _SHOWN} more periods"
