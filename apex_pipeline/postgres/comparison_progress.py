"""How the comparison of rollups with their raw rows comes along, for people to see.

Counting finds rows that came or went; only comparing finds those that were changed. It
goes through the whole history once a day, a part with each tick of its sensor.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.postgres.database import Database

PROMISED = timedelta(days=1)
"""A row that was changed is in its day and week after so long."""

_KEEP = """
    INSERT INTO rollup_comparison AS kept (began_at, next_day, ended_at, lap_seconds)
    VALUES (
        %(began_at)s, %(next_day)s,
        CASE WHEN %(next_day)s::date IS NULL THEN %(now)s::timestamptz END,
        CASE WHEN %(next_day)s::date IS NULL
            THEN extract(epoch FROM %(now)s::timestamptz - %(began_at)s::timestamptz)
        END
    )
    ON CONFLICT (single) DO UPDATE SET
        began_at = excluded.began_at,
        next_day = excluded.next_day,
        ended_at = coalesce(excluded.ended_at, kept.ended_at),
        lap_seconds = coalesce(excluded.lap_seconds, kept.lap_seconds)
    WHERE excluded.next_day IS NOT NULL OR kept.next_day IS NOT NULL
        OR excluded.began_at > kept.began_at
"""
_READ = "SELECT began_at, next_day, lap_seconds FROM rollup_comparison"


@dataclass(frozen=True, slots=True)
class RollupLap:
    """How far the comparison has come.

    Attributes:
        began_at: When the lap began that is under way, or that ended last.
        next_day: First day that the lap has not compared yet; None where it has ended.
        lap_seconds: How long the last lap took that ended; None before the first.
    """

    began_at: datetime
    next_day: date | None
    lap_seconds: float | None

    def seconds(self, now: datetime) -> float | None:
        """How long a lap takes: the last one, or the present one once it is longer."""
        if self.next_day is None:
            return self.lap_seconds
        present = (now - self.began_at).total_seconds()
        return max(present, self.lap_seconds or 0.0)


def keep_progress(
    database: Database, *, began_at: datetime, next_day: date | None, now: datetime
) -> None:
    """Keep how far the comparison has come.

    Raises:
        DatabaseError: One of its kinds.
    """
    values = {"began_at": began_at, "next_day": next_day, "now": now}
    database.transact(lambda c: c.exec_driver_sql(_KEEP, values), repeatable=True)


def progress_in(connection: Connection) -> RollupLap | None:
    """Read it within a transaction; None before the first."""
    row = connection.exec_driver_sql(_READ).one_or_none()
    return None if row is None else RollupLap(*row)
