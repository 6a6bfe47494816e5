"""Adopt records that another flow created for rows.

A record is adopted if it matches exactly one row and no other record matches that row.
The row is from now on sent and compared under that record's id. It is marked if the
record holds its values; otherwise the next sync writes them. If several match, an
operator has to delete the extra ones; until then nothing is sent.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.audit.batches import Batch, BatchedAct
from apex_pipeline.metrics import record_key
from apex_pipeline.postgres.row_marks import text_array
from apex_pipeline.quarantine import put_aside
from apex_pipeline.reconcile import exported_rows, findings, foreign_records
from apex_pipeline.reconcile.dataverse_records import KEYS_PER_REQUEST, Record, Records
from apex_pipeline.reconcile.findings import Verdicts
from apex_pipeline.reconcile.row_examination import Examination
from apex_pipeline.reconcile.value_comparison import differing_columns

# Like the view, but without counting the whole table for each page.
_ADOPTABLE = """
    SELECT CAST(other.record_id AS text), CAST(metric.id AS text),
        CAST(adopted.record_id AS text)
    FROM foreign_record AS other
    JOIN campaign_metrics AS metric ON metric.id = other.metric_id
    LEFT JOIN adopted_record AS adopted ON adopted.metric_id = metric.id
    WHERE other.resource = %(resource)s AND other.candidates = 1
        AND (metric.exported_at IS NULL OR other.is_row_missing)
        AND NOT EXISTS (
            SELECT FROM foreign_record AS rival
            WHERE rival.resource = other.resource
                AND rival.metric_id = other.metric_id
                AND rival.record_id <> other.record_id
        )
        AND (CAST(%(after)s AS uuid) IS NULL OR other.record_id > CAST(%(after)s AS uuid))
        AND (CAST(%(among)s AS uuid[]) IS NULL
            OR other.record_id = ANY(CAST(%(among)s AS uuid[])))
    ORDER BY other.record_id
    LIMIT %(limit)s
"""

_FREE = """
    DELETE FROM adopted_record
    WHERE record_id = ANY(CAST(%(keys)s AS uuid[])) OR metric_id = ANY(%(ids)s)
"""

_ADOPT = """
    INSERT INTO adopted_record (metric_id, record_id, resource, adopted_at)
    VALUES (%(metric_id)s, %(record_id)s, %(resource)s, %(at)s)
"""

# Nothing can change a row between the comparison and the mark.
_HOLD = "SELECT FROM campaign_metrics WHERE id = ANY(%(ids)s) FOR UPDATE"

_MARK = """
    UPDATE campaign_metrics SET exported_at = %(at)s
    WHERE id = ANY(%(ids)s) AND exported_at IS NULL
"""

# The row has its own record: the other one is a double.
_DISOWN = """
    UPDATE foreign_record SET is_row_missing = false
    WHERE resource = %(resource)s AND record_id = ANY(CAST(%(keys)s AS uuid[]))
"""


@dataclass(frozen=True, slots=True)
class Match:
    """A record to adopt, and its row."""

    record: UUID
    metric_id: str
    key: UUID | None


async def adopt(
    examination: Examination,
    records: Records,
    resource: str,
    see_lock: Callable[[], None],
    act: BatchedAct,
) -> int:
    """Adopt every record that alone matches exactly one row; return how many.

    The caller holds the writer lock, so no row is sent meanwhile. Right before adopting,
    each record is read again, and the row must not have its own record. A batch is one
    transaction: a killed process leaves whole batches.

    Raises:
        OutOfTimeError: The time or request budget is used up.
        WriterLockLostError: `see_lock` found that another writer may have started.
        DatabaseError: Postgres does not answer, or refuses a statement.
    """
    adopted = 0
    after: UUID | None = None
    while page := await examination.ask(
        lambda c: _adoptable(c, resource, after=after)  # noqa: B023  asked at once
    ):
        seen = await records.by_key([match.record for match in page])
        own = await records.by_key([match.key for match in page if match.key])
        await asyncio.to_thread(see_lock)
        chosen = await examination.act(
            act,
            lambda c: _adopt(c, resource, page, seen, own.keys()),  # noqa: B023  asked at once
            _batch,
        )
        adopted += len(chosen)
        after = page[-1].record
    return adopted


def _adoptable(
    connection: Connection,
    resource: str,
    *,
    after: UUID | None = None,
    among: Collection[UUID] | None = None,
) -> list[Match]:
    values = {
        "resource": resource,
        "after": None if after is None else str(after),
        "among": None if among is None else [str(key) for key in among],
        "limit": KEYS_PER_REQUEST,
    }
    found = connection.exec_driver_sql(_ADOPTABLE, values)
    return [
        Match(UUID(record), metric_id, record_key(metric_id, adopted))
        for record, metric_id, adopted in found
    ]


def _adopt(
    connection: Connection,
    resource: str,
    page: list[Match],
    seen: dict[UUID, Record],
    own: Collection[UUID],
) -> list[Match]:
    now = datetime.now(UTC)
    looked_at = {match.record for match in page}
    # The records as they are now: one may be gone, or match another row.
    findings.record(
        connection, resource, Verdicts(foreign=seen, settled_keys=looked_at), now
    )
    owned = [str(match.record) for match in page if match.key in own]
    if owned:
        connection.exec_driver_sql(_DISOWN, {"resource": resource, "keys": owned})
    chosen = [
        match
        for match in _adoptable(connection, resource, among=looked_at)
        if match.key not in own
    ]
    values = {
        "resource": resource,
        "keys": [str(match.record) for match in chosen],
        "ids": [match.metric_id for match in chosen],
        "at": now,
    }
    if chosen:
        connection.exec_driver_sql(_FREE, values)
        connection.exec_driver_sql(
            _ADOPT,
            [
                {
                    "metric_id": match.metric_id,
                    "record_id": match.record,
                    "resource": resource,
                    "at": now,
                }
                for match in chosen
            ],
        )
        connection.exec_driver_sql(_HOLD, values)
        held = _held(connection, seen, chosen)
        connection.exec_driver_sql(_MARK, {"ids": held, "at": now})
        put_aside.take_out(connection, text_array(held))
        foreign_records.forget(connection, resource, [match.record for match in chosen])
    return chosen


def _held(
    connection: Connection, seen: dict[UUID, Record], chosen: list[Match]
) -> list[str]:
    """Ids of the rows that the other flow had marked, or whose record holds their values.

    The others stay as they were: pending, or in quarantine by an operator's decision.
    """
    rows = exported_rows.rows_of(connection, [match.record for match in chosen])
    return [
        row.id
        for key, row in rows.items()
        if row.exported_at or not differing_columns(row.values, seen[key])
    ]


def _batch(chosen: list[Match]) -> Batch:
    return Batch(
        [match.metric_id for match in chosen], [str(match.record) for match in chosen]
    )
