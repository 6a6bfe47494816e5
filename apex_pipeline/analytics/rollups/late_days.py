"""Find days and weeks whose raw rows have changed since they were computed.

There are two ways. Counting reads only the index on `created_at`; it finds rows that
arrived late or were deleted, days that were never computed, and new time zones. Comparing
reads each raw row and also finds changed rows. Both read each row once for all time
zones, days and weeks: rows are summed between the instants at which any period begins.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.analytics.rollups.periods import (
    DAILY,
    WEEKLY,
    Grain,
    Periods,
    period_rows,
)
from apex_pipeline.analytics.rollups.refresh import CHECKSUM, RAW_ROWS
from apex_pipeline.errors import SchemaMissingError
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import AnalysisSettings

_DAY = timedelta(days=1)

_FIRST_DAY = "SELECT first_day FROM rollup_history"

_STALE = f"""
    WITH period AS MATERIALIZED (
        SELECT * FROM (
            SELECT 'day' AS grain, days.*
            FROM ({period_rows("%(first)s", "1", "NULL")}) AS days
            UNION ALL
            SELECT 'week', weeks.*
            FROM ({period_rows("%(first_monday)s", "7", "NULL")}) AS weeks
        ) AS either
        WHERE ends_at <= %(now)s
    ),
    boundary AS (
        SELECT starts_at AS at FROM period UNION SELECT ends_at FROM period
    ),
    slice AS MATERIALIZED (
        SELECT at, lead(at) OVER (ORDER BY at) AS until FROM boundary
    ),
    counted AS (
        SELECT slice.at, raw.found
        FROM slice CROSS JOIN LATERAL (
            SELECT {{what}} AS found FROM ({RAW_ROWS}) AS raw_rows
            WHERE created_at >= slice.at AND created_at < slice.until
        ) AS raw
    ),
    running AS MATERIALIZED (
        SELECT at, sum(found) OVER (ORDER BY at) - found AS before FROM counted
    )
    SELECT DISTINCT period.grain, period.starts_on
    FROM period
    JOIN running AS first ON first.at = period.starts_at
    JOIN running AS last ON last.at = period.ends_at
    LEFT JOIN rollup_source AS source
        ON source.grain = period.grain AND source.time_zone = period.time_zone
            AND source.starts_on = period.starts_on
    WHERE source.{{column}} IS DISTINCT FROM last.before - first.before
    ORDER BY period.grain, period.starts_on
"""  # noqa: S608  constants
_COUNTING = _STALE.format(what="count(*)", column="raw_rows")
_COMPARING = _STALE.format(what=CHECKSUM, column="raw_checksum")


@dataclass(frozen=True, slots=True)
class Stale:
    """What has to be recomputed, in contiguous ranges."""

    days: tuple[Periods, ...]
    weeks: tuple[Periods, ...]

    def __sub__(self, other: "Stale") -> "Stale":
        return Stale(
            _without(DAILY, self.days, other.days),
            _without(WEEKLY, self.weeks, other.weeks),
        )


def first_day(database: Database, settings: AnalysisSettings) -> date:
    """The first day of the rollups: as configured, or as set when provisioning.

    Raises:
        DatabaseError: Postgres did not answer, or lacks our tables.
    """
    return database.transact(lambda c: first_day_in(c, settings), repeatable=True)


def first_day_in(connection: Connection, settings: AnalysisSettings) -> date:
    """The same, within a transaction."""
    if settings.history_start is not None:
        return settings.history_start
    kept: date | None = connection.exec_driver_sql(_FIRST_DAY).scalar_one_or_none()
    if kept is None:
        raise SchemaMissingError(
            "The table rollup_history is empty. Insert the first day of the rollups, "
            "or set APEX_HISTORY_START."
        )
    return max(kept, settings.first_label)


def stale(
    database: Database,
    settings: AnalysisSettings,
    now: datetime,
    *,
    compare: tuple[date, date] | None = None,
) -> Stale:
    """Find the days and weeks before *now* that have to be recomputed.

    Args:
        database: Where raw rows and rollups are.
        settings: The time zones, and the first day.
        now: An aware datetime.
        compare: First and last day whose rows are compared, with the weeks that begin
            between them. None to count all rows.

    Raises:
        DatabaseError: One of its kinds.
    """
    statement = _COMPARING if compare else _COUNTING

    def find(connection: Connection) -> Stale:
        first, last = first_day_in(connection, settings), now.date() + _DAY
        if compare is not None:
            first, last = max(first, compare[0]), min(last, compare[1])
        values = {
            "first": first,
            "first_monday": first + -first.weekday() % 7 * _DAY,
            "last": last,
            "zones": list(settings.time_zones),
            "now": now,
        }
        found: dict[str, list[date]] = {DAILY.name: [], WEEKLY.name: []}
        for grain, label in connection.exec_driver_sql(statement, values):
            found[grain].append(label)
        return Stale(
            tuple(ranges(DAILY, found[DAILY.name])),
            tuple(ranges(WEEKLY, found[WEEKLY.name])),
        )

    return database.transact(find, repeatable=True)


def _without(
    grain: Grain, periods: Iterable[Periods], others: Iterable[Periods]
) -> tuple[Periods, ...]:
    left = {label for each in periods for label in each.labels()}
    left.difference_update(label for each in others for label in each.labels())
    return tuple(ranges(grain, sorted(left)))


def ranges(grain: Grain, labels: Iterable[date]) -> list[Periods]:
    """Join consecutive labels into ranges."""
    found: list[Periods] = []
    step = grain.days * _DAY
    for label in labels:
        if found and label == found[-1].last + step:
            found[-1] = Periods(grain, found[-1].first, label)
        else:
            found.append(Periods(grain, label, label))
    return found
