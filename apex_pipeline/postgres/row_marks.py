"""Mark rows that Dataverse acknowledged, only in the version that was sent.

If `campaign_metrics` is a table, the version of a row is its `xmin`: every update
changes it; locks, freezing and vacuum do not. A view has none, and a foreign table's is
meaningless, so there the values themselves are compared.

Rows that another transaction locks are skipped, never waited for: they stay pending, and
the next run sends them again.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from apex_pipeline.metrics import key_text
from apex_pipeline.postgres.pending_rows import PendingRow, versioned
from apex_pipeline.quarantine import put_aside


@dataclass(frozen=True, slots=True)
class Marks:
    """The outcome of acknowledged rows in Postgres; each row is counted once.

    Attributes:
        marked: Marked in the version that was sent.
        changed: Updated since they were read, or marked by another process.
        deleted: Deleted; their records belong to no row.
        locked: Locked by another transaction.
        swallowed: None of these: Postgres accepted the mark but did not keep it.
        obstacles: Triggers, rules and policies that may be the cause; only if some
            marks were swallowed.
    """

    marked: int = 0
    changed: int = 0
    deleted: int = 0
    locked: int = 0
    swallowed: int = 0
    obstacles: tuple[str, ...] = ()


_SENT = """
    unnest(CAST(%(texts)s AS text[]), CAST(%(versions)s AS text[])) AS sent (id, version)
"""

# The lock comes before the comparison: nothing can change a row between the two.
_HELD = versioned(
    """
    SELECT metric.id, {version} AS version
    FROM campaign_metrics AS metric
    WHERE metric.id = ANY(%(ids)s) AND (metric.exported_at IS NULL OR %(again)s)
    FOR UPDATE SKIP LOCKED
    """
)

# Returns the rows that it did not mark. One that is locked by us and not marked, although
# its version matches, was swallowed.
_MARK = f"""
    WITH held AS MATERIALIZED ({_HELD}),
    marked AS (
        UPDATE campaign_metrics AS metric
        SET exported_at = %(at)s
        FROM held JOIN {_SENT}
            ON sent.id = CAST(held.id AS text) AND sent.version = held.version
        WHERE metric.id = held.id
        RETURNING metric.id
    )
    SELECT sent.id, held.id IS NOT NULL AS is_held
    FROM {_SENT} LEFT JOIN held ON CAST(held.id AS text) = sent.id
    WHERE held.id IS NULL OR held.id NOT IN (SELECT id FROM marked)
"""  # noqa: S608  constants

_FOUND = versioned(
    """
    SELECT CAST(metric.id AS text) AS id, metric.exported_at, {version} AS version
    FROM campaign_metrics AS metric
    WHERE metric.id = ANY(%(ids)s)
    """
)

# Returns the rows that do not carry this mark. Those that an earlier attempt marked,
# before its answer was lost, do carry it.
_LOOK = f"""
    SELECT sent.id,
        found.id IS NOT NULL AS is_there,
        found.exported_at IS NOT NULL AS is_marked,
        found.version = sent.version AS is_same
    FROM {_SENT} LEFT JOIN ({_FOUND}) AS found ON found.id = sent.id
    WHERE (found.exported_at = %(at)s) IS NOT TRUE
"""  # noqa: S608  constants

_FREE = """
    SELECT CAST(id AS text) FROM campaign_metrics WHERE id = ANY(%(ids)s)
    FOR UPDATE NOWAIT
"""

# Returns the rows that another transaction holds.
_UNMARK = """
    WITH free AS MATERIALIZED (
        SELECT id FROM campaign_metrics WHERE id = ANY(%(ids)s) FOR UPDATE SKIP LOCKED
    ), unmarked AS (
        UPDATE campaign_metrics AS metric SET exported_at = NULL
        FROM free WHERE metric.id = free.id
    )
    SELECT CAST(id AS text) FROM campaign_metrics
    WHERE id = ANY(%(ids)s) AND id NOT IN (SELECT id FROM free)
"""

_KEEP_ORPHANS = """
    INSERT INTO foreign_record (
        resource, record_id, campaign_id, run_id, phase, created_second, candidates,
        first_seen_at, last_seen_at
    )
    VALUES (
        %(resource)s, %(record_id)s, %(campaign_id)s, %(run_id)s, %(phase)s,
        %(created_second)s, 0, %(at)s, %(at)s
    )
    ON CONFLICT (resource, record_id) DO UPDATE
    SET last_seen_at = excluded.last_seen_at
"""

_OBSTACLES = """
    SELECT 'trigger ' || tgname
    FROM pg_trigger
    WHERE tgrelid = CAST('campaign_metrics' AS regclass) AND NOT tgisinternal
        AND tgenabled <> 'D' AND tgtype & 16 <> 0
    UNION ALL
    SELECT 'rule ' || rulename
    FROM pg_rewrite
    WHERE ev_class = CAST('campaign_metrics' AS regclass) AND ev_type = '2'
    UNION ALL
    SELECT 'row-level security ' || coalesce(
        'policy ' || string_agg(polname, ', ' ORDER BY polname), 'without a policy'
    )
    FROM pg_class LEFT JOIN pg_policy ON polrelid = pg_class.oid
    WHERE pg_class.oid = CAST('campaign_metrics' AS regclass)
        AND row_security_active(pg_class.oid)
    GROUP BY pg_class.oid
"""


def mark_exported(
    connection: Connection,
    rows: Sequence[PendingRow],
    at: datetime,
    *,
    again: bool = False,
    resource: str | None = None,
) -> Marks:
    """Mark rows that Dataverse acknowledged, and remove them from quarantine.

    Args:
        connection: The transaction.
        rows: The rows as they were read and sent.
        at: The time to mark them with.
        again: Include rows that are marked already. Those take the new time; those that
            changed on the way lose their mark, and the next sync sends them.
        resource: The environment that holds their records. A record whose row was
            deleted is noted, and reconcile lists it.
    """
    sent = {row.id: row for row in rows}
    ids = text_array(sent)
    values: dict[str, Any] = {
        # Once in the type of the column, once as text.
        "ids": ids,
        "texts": ids,
        "versions": text_array(row.version for row in sent.values()),
        # Written out in UTC, so a column without time zone gets the right hour.
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "again": again,
    }
    unmarked = dict(connection.exec_driver_sql(_MARK, values).tuples().all())
    told = sent.keys() - unmarked.keys()
    # Before the look: a row that is deleted between the two is seen to be gone, and not
    # taken for one that a policy hides.
    skipped = _held_by_others(
        connection, {one for one, is_held in unmarked.items() if not is_held}
    )
    others = {row.id: row for row in connection.exec_driver_sql(_LOOK, values).all()}
    found = {one: row for one, row in others.items() if row.is_there}
    # A trigger that runs after the UPDATE may have changed the marks that were told, or
    # undone them.
    marked = (sent.keys() - others.keys()) | {
        one for one, row in found.items() if row.is_marked and one in told
    }
    changed = {
        one
        for one, row in found.items()
        if one not in told and (not row.is_same or (row.is_marked and not again))
    }
    kept = found.keys() - marked - changed
    locked = kept & skipped
    swallowed = len(kept - locked)
    deleted = others.keys() - found.keys()
    put_aside.take_out(connection, text_array(marked))
    if again and changed:
        unmark(connection, changed)
    if resource is not None:
        _keep_orphans(connection, [sent[one] for one in deleted], resource, at)
    return Marks(
        len(marked),
        len(changed),
        len(deleted),
        len(locked),
        swallowed,
        obstacles(connection) if swallowed else (),
    )


def unmark(connection: Connection, ids: Collection[str]) -> set[str]:
    """Take back the mark of rows that Dataverse does not hold as they are now.

    Returns the rows that keep it, because another transaction holds them.
    """
    return set(connection.exec_driver_sql(_UNMARK, {"ids": list(ids)}).scalars())


def obstacles(connection: Connection) -> tuple[str, ...]:
    """Name the triggers, rules and policies that may prevent an UPDATE of the rows."""
    return tuple(connection.exec_driver_sql(_OBSTACLES).scalars())


def text_array(texts: Iterable[str]) -> str:
    """The texts as Postgres writes an array; psycopg takes several times as long."""
    given = list(texts)
    # No text in Postgres contains NUL, and all are escaped at once.
    escaped = "\0".join(given).replace("\\", r"\\").replace('"', r"\"")
    return '{"' + escaped.replace("\0", '","') + '"}' if given else "{}"


def _held_by_others(connection: Connection, skipped: set[str]) -> set[str]:
    """Those of the rows that were passed over that another transaction holds, or held.

    They are locked now, so nothing becomes of them until they have been looked at;
    where one cannot be, all of them pass for held. A policy hides a row from a lock as
    it does from an UPDATE. So a row that is there and is not among these is hidden.
    """
    if not skipped:
        return set()
    try:
        with connection.begin_nested():
            found = connection.exec_driver_sql(_FREE, {"ids": list(skipped)})
            return set(found.scalars())
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        return skipped


def _keep_orphans(
    connection: Connection, rows: Sequence[PendingRow], resource: str, at: datetime
) -> None:
    for row in rows:
        values = row.values
        created = values["created_at"]
        connection.exec_driver_sql(
            _KEEP_ORPHANS,
            {
                "resource": resource,
                "record_id": key_text(row.id, values.get("record_id")),
                "campaign_id": str(values["campaign_id"]).lower(),
                "run_id": str(values["run_id"]).lower(),
                "phase": values["phase"] or "",
                "created_second": (
                    int(created // 1) if isinstance(created, Decimal) else None
                ),
                "at": at,
            },
        )
