"""Statistics of the sync, from the run ledger and the rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from apex_pipeline.postgres import pending_rows, run_ledger
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.run_ledger import Totals

DELAY_PERIOD = timedelta(days=7)
"""Age of the oldest rows that count for the delay."""

_RUNS = """
    SELECT count(*), count(*) FILTER (WHERE status = 'success'),
        count(*) FILTER (WHERE status = 'failure'),
        count(*) FILTER (WHERE status = 'interrupted'),
        coalesce(sum(rows_read), 0), coalesce(sum(requests), 0),
        min(started_at), max(finished_at),
        percentile_disc(0.5) WITHIN GROUP (
            ORDER BY extract(epoch FROM finished_at - started_at)::float8
        ),
        percentile_disc(0.95) WITHIN GROUP (
            ORDER BY extract(epoch FROM finished_at - started_at)::float8
        ),
        max(extract(epoch FROM finished_at - started_at))::float8
    FROM sync_run
"""

# A waiting row counts with its age so far; otherwise a sync that stands still would look
# fast. Rejected rows are reported separately.
_DELAYS = """
    WITH delay AS (
        SELECT exported_at IS NULL AS is_waiting,
            greatest(
                extract(epoch FROM coalesce(exported_at, now()) - created_at), 0
            )::float8 AS seconds
        FROM campaign_metrics
        WHERE created_at >= %(since)s AND created_at <= now()
            AND NOT (exported_at IS NULL AND EXISTS (
                SELECT FROM campaign_metrics_quarantine
                WHERE metric_id = campaign_metrics.id
            ))
    )
    SELECT count(*), count(*) FILTER (WHERE is_waiting),
        percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds),
        percentile_disc(0.95) WITHIN GROUP (ORDER BY seconds),
        max(seconds)
    FROM delay
"""

_ROWS = """
    SELECT count(*), count(exported_at), min(created_at), max(created_at)
    FROM campaign_metrics
"""


@dataclass(frozen=True, slots=True)
class Runs:
    """Sums over all runs in the ledger; the comments on `sync_run` explain them."""

    totals: Totals
    count: int
    succeeded: int
    failed: int
    interrupted: int
    rows_read: int
    requests: int
    first_started_at: datetime | None
    last_finished_at: datetime | None
    median_seconds: float | None
    p95_seconds: float | None
    longest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Delays:
    """Delay from `created_at` to `exported_at` in seconds; None without rows.

    Attributes:
        count: Rows that were counted.
        waiting: Those of them that are not delivered yet.
    """

    count: int
    waiting: int
    median: float | None
    p95: float | None
    longest: float | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Counts of the rows in `campaign_metrics`."""

    pending: int
    count: int
    exported: int
    first_created_at: datetime | None
    last_created_at: datetime | None


def read_runs(database: Database) -> Runs:
    """Sum up the ledger.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """

    def read(connection: Connection) -> Runs:
        found = connection.exec_driver_sql(_RUNS).one()
        return Runs(run_ledger.totals(connection), *found)

    return database.ask(read)


def read_delays(database: Database, since: datetime) -> Delays:
    """Read how long rows created since an instant waited.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """
    return database.transact(
        lambda c: Delays(*c.exec_driver_sql(_DELAYS, {"since": since}).one()),
        repeatable=True,
    )


def read_rows(database: Database) -> Rows:
    """Count rows by state.

    Raises:
        DatabaseError: Postgres does not answer, or lacks our tables.
    """

    def read(connection: Connection) -> Rows:
        found = connection.exec_driver_sql(_ROWS).one()
        return Rows(pending_rows.summary(connection).count, *found)

    return database.ask(read)
