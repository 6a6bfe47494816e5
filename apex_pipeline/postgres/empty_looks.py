"""When somebody last looked and found nothing pending.

No run starts while nothing is pending, so the ledger does not know that hours later. A
row that comes with an old time has waited since then at most.
"""

from datetime import datetime

from sqlalchemy import Connection

# Sensors look every few seconds; this precision is enough for rows that are late after
# ten minutes. An instant in the future was written by a clock that was wrong.
_NOTE = """
    INSERT INTO pending_look (empty_at)
    SELECT now() WHERE NOT EXISTS (SELECT FROM campaign_metrics_pending)
    ON CONFLICT (single) DO UPDATE SET empty_at = excluded.empty_at
    WHERE pending_look.empty_at NOT BETWEEN
        excluded.empty_at - interval '20 seconds' AND excluded.empty_at
"""

_READ = "SELECT empty_at FROM pending_look WHERE empty_at <= clock_timestamp()"


def note(connection: Connection) -> None:
    """Note that nothing is pending now, by Postgres' clock, if nothing is."""
    connection.exec_driver_sql(_NOTE)


def last_empty_at(connection: Connection) -> datetime | None:
    """When that was noted last (aware); None if it never was."""
    found: datetime | None = connection.exec_driver_sql(_READ).scalar_one_or_none()
    return found
