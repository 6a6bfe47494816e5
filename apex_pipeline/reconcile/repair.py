"""Remove the marks of rows whose record is missing or differs.

The next sync sends them. Nothing is deleted in Dataverse: an upsert creates a missing
record and overwrites a different one.
"""

from sqlalchemy import Connection

from apex_pipeline.audit.batches import Batch, BatchedAct
from apex_pipeline.reconcile import findings
from apex_pipeline.reconcile.dataverse_records import KEYS_PER_REQUEST
from apex_pipeline.reconcile.row_examination import Examination

# A row that a sync has marked again since the finding is left alone. If an adopted record
# is missing, it is gone: the row gets its own record.
_CLEAR = """
    WITH cleared AS (
        UPDATE campaign_metrics AS metric
        SET exported_at = NULL
        FROM reconciliation_finding AS finding
        WHERE finding.resource = %(resource)s
            AND finding.metric_id = ANY(%(ids)s)
            AND metric.id = finding.metric_id
            AND metric.exported_at = finding.exported_at
        RETURNING metric.id, finding.kind
    ), abandoned AS (
        DELETE FROM adopted_record USING cleared
        WHERE adopted_record.metric_id = cleared.id AND cleared.kind = 'missing'
    ), settled AS (
        DELETE FROM reconciliation_finding AS finding USING cleared
        WHERE finding.resource = %(resource)s AND finding.metric_id = cleared.id
    )
    SELECT CAST(id AS text) FROM cleared ORDER BY id
"""


async def repair(examination: Examination, resource: str, act: BatchedAct) -> int:
    """Remove the marks of all rows with a finding; return how many.

    Each row is compared again right before. A batch is one transaction: a killed process
    leaves whole batches, and the next run does the rest.

    Raises:
        OutOfTimeError: The time or request budget is used up.
        DatabaseError: Postgres does not answer, or refuses a statement.
    """
    repaired = 0
    after: str | None = None
    while page := await examination.ask(
        lambda c: findings.rows_page(c, resource, after, KEYS_PER_REQUEST)  # noqa: B023  asked at once
    ):
        ids = [row_id for row_id, _ in page]
        await examination.by_key(key for _, key in page if key is not None)
        cleared = await examination.act(
            act,
            lambda c: _clear(c, resource, ids),  # noqa: B023  asked at once
            Batch,
        )
        repaired += len(cleared)
        after = ids[-1]
    return repaired


def _clear(connection: Connection, resource: str, ids: list[str]) -> list[str]:
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    values = {"resource": resource, "ids": ids}
    return list(connection.exec_driver_sql(_CLEAR, values).scalars())
