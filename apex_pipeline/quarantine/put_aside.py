"""Put rows that were refused into quarantine, and take delivered rows out of it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from apex_pipeline.metrics import Rejection

_PUT_ASIDE = """
    INSERT INTO campaign_metrics_quarantine AS known (
        metric_id, code, message, attempts,
        first_rejected_at, last_rejected_at, next_attempt_at
    )
    VALUES (
        %(id)s, %(code)s, %(message)s, 1,
        -- The view compares with the server's clock. A host clock that runs ahead must
        -- not prolong the wait, and one that was set back must not violate a constraint.
        least(%(at)s, now()), least(%(at)s, now()),
        least(%(at)s, now()) + interval '5 minutes'
    )
    ON CONFLICT (metric_id) DO UPDATE
    SET code = excluded.code,
        message = excluded.message,
        attempts = known.attempts + 1,
        last_rejected_at = greatest(known.first_rejected_at, excluded.last_rejected_at),
        -- If it was dropped while it was being sent, it stays dropped.
        next_attempt_at = CASE WHEN known.next_attempt_at = 'infinity'
            THEN known.next_attempt_at
            ELSE excluded.last_rejected_at + least(
                interval '5 minutes' * power(2, least(known.attempts, 30)),
                interval '1 day'
            ) END
"""

_TAKE_OUT = """
    DELETE FROM campaign_metrics_quarantine WHERE metric_id = ANY(%(ids)s)
"""


def put_aside(
    connection: Connection, rejections: Sequence[Rejection], at: datetime
) -> None:
    """Quarantine rows, after repeated refusals for twice as long each time."""
    rows = [
        # Postgres text cannot contain NUL.
        {"id": r.id, "code": r.code, "message": r.message.replace("\0", ""), "at": at}
        for r in rejections
    ]
    if rows:
        connection.exec_driver_sql(_PUT_ASIDE, rows)


def take_out(connection: Connection, ids: str) -> None:
    """Remove rows that Dataverse holds; rows that are not in quarantine do no harm.

    Args:
        connection: The transaction that marks them.
        ids: Their ids as an array literal, because psycopg takes several times as long
            to write one; in the spellings that the table may store.
    """
    connection.exec_driver_sql(_TAKE_OUT, {"ids": ids})
