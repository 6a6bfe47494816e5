"""Findings: differences between rows and records, stored in Postgres until resolved.

A row whose record is missing or differs is stored with its mark at that time. A record
that belongs to no row is stored with the values that could match it to one. The view
`dataverse_finding` classifies them by what is known at the time of the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.metrics import record_key
from apex_pipeline.postgres.pending_rows import spellings
from apex_pipeline.reconcile import foreign_records
from apex_pipeline.reconcile.dataverse_records import Record
from apex_pipeline.reconcile.exported_rows import ExportedRow

MOST_KEPT = 10_000
"""The most findings on rows to store."""


class FindingKind(StrEnum):
    """The kind of a finding."""

    MISSING = "missing"
    """A row is marked but has no record."""
    DIFFERENT = "different"
    """A record has other values than its row."""
    UNKNOWN = "unknown"
    """A record matches no row."""
    DOUBLE = "double"
    """A record matches a row that already has its own record."""
    OTHER_FLOW = "other_flow"
    """Another flow created the record for a row that has no record of its own."""
    AMBIGUOUS = "ambiguous"
    """Like `OTHER_FLOW`, but several such records or rows match."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the view `dataverse_finding`."""

    kind: FindingKind
    metric_id: str | None
    record_id: str | None
    columns: tuple[str, ...]
    first_found_at: datetime


@dataclass(slots=True)
class Verdicts:
    """The outcome of comparing some rows and records.

    Attributes:
        missing: Rows without their record.
        different: Rows whose record differs, each with the differing columns.
        foreign: Records that belong to no row, by key.
        settled_keys: Keys that were compared; those not in `foreign` are resolved.
        settled_ids: Ids of rows that were compared.
    """

    missing: list[ExportedRow] = field(default_factory=list)
    different: list[tuple[ExportedRow, tuple[str, ...]]] = field(default_factory=list)
    foreign: dict[UUID, Record] = field(default_factory=dict)
    settled_keys: set[UUID] = field(default_factory=set)
    settled_ids: set[str] = field(default_factory=set)


_FIND = """
    INSERT INTO reconciliation_finding AS known (
        resource, metric_id, kind, columns, exported_at, first_found_at, last_found_at
    )
    SELECT %(resource)s, id, %(kind)s, %(columns)s,
        coalesce(CAST(%(exported_at)s AS timestamptz), exported_at), %(at)s, %(at)s
    FROM campaign_metrics
    WHERE id = %(metric_id)s AND exported_at IS NOT NULL
    ON CONFLICT (resource, metric_id) DO UPDATE
    SET kind = excluded.kind, columns = excluded.columns,
        exported_at = excluded.exported_at, last_found_at = excluded.last_found_at
"""

_SETTLE_ROWS = """
    DELETE FROM reconciliation_finding
    WHERE resource = %(resource)s AND metric_id = ANY(%(ids)s)
"""

_FORGET_UNMARKED = """
    DELETE FROM reconciliation_finding AS finding
    WHERE finding.resource = %(resource)s AND NOT EXISTS (
        SELECT FROM campaign_metrics AS metric
        WHERE metric.id = finding.metric_id AND metric.exported_at IS NOT NULL
    )
"""

_ROWS_PAGE = """
    SELECT CAST(finding.metric_id AS text), CAST(adopted.record_id AS text)
    FROM reconciliation_finding AS finding
    LEFT JOIN adopted_record AS adopted ON adopted.metric_id = finding.metric_id
    WHERE finding.resource = %(resource)s
        AND (CAST(%(after)s AS text) IS NULL
            OR CAST(finding.metric_id AS text) > %(after)s)
    ORDER BY CAST(finding.metric_id AS text)
    LIMIT %(limit)s
"""

_ROWS_FOUND = """
    SELECT count(*) FROM reconciliation_finding WHERE resource = %(resource)s
"""

_COUNTS = """
    SELECT kind, count(*) FROM dataverse_finding
    WHERE resource = %(resource)s GROUP BY kind
"""

_EXAMPLES = """
    SELECT kind, metric_id, record_id, columns, first_found_at, (
        SELECT CAST(adopted.record_id AS text)
        FROM reconciliation_finding AS finding
        JOIN adopted_record AS adopted ON adopted.metric_id = finding.metric_id
        WHERE finding.resource = %(resource)s
            AND CAST(finding.metric_id AS text) = numbered.metric_id
    ) AS adopted FROM (
        SELECT *, row_number() OVER (
            PARTITION BY kind ORDER BY first_found_at, metric_id, record_id
        ) AS number
        FROM dataverse_finding
        WHERE resource = %(resource)s
    ) AS numbered
    WHERE number <= %(limit)s
    ORDER BY kind, number
"""


def record(
    connection: Connection, resource: str, verdicts: Verdicts, at: datetime
) -> None:
    """Store new findings, and delete resolved ones."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    _settle(connection, resource, verdicts)
    wrong = [_wrong(row, FindingKind.MISSING, ()) for row in verdicts.missing]
    wrong += [
        _wrong(row, FindingKind.DIFFERENT, names) for row, names in verdicts.different
    ]
    if wrong:
        common = {"resource": resource, "at": at}
        connection.exec_driver_sql(_FIND, [each | common for each in wrong])
    if verdicts.foreign:
        foreign_records.see(connection, resource, verdicts.foreign, at)
    if verdicts.missing or verdicts.foreign:
        foreign_records.explain_missing(connection, resource)


def _wrong(
    row: ExportedRow, kind: FindingKind, columns: Sequence[str]
) -> dict[str, Any]:
    return {
        "metric_id": row.id,
        "kind": kind.value,
        "columns": list(columns),
        "exported_at": row.exported_at,
    }


def _settle(connection: Connection, resource: str, verdicts: Verdicts) -> None:
    keys = verdicts.settled_keys - verdicts.foreign.keys()
    wrong = {row.id for row in verdicts.missing}
    wrong |= {row.id for row, _ in verdicts.different}
    ids = {*spellings(verdicts.settled_keys), *verdicts.settled_ids} - wrong
    if ids:
        values = {"resource": resource, "ids": [*ids]}
        connection.exec_driver_sql(_SETTLE_ROWS, values)
    if keys:
        foreign_records.forget(connection, resource, keys)


def forget_unmarked(connection: Connection, resource: str) -> None:
    """Delete findings on rows that are pending again or deleted."""
    connection.exec_driver_sql(_FORGET_UNMARKED, {"resource": resource})


def rows_page(
    connection: Connection, resource: str, after: str | None, limit: int
) -> list[tuple[str, UUID | None]]:
    """Read ids of rows with a finding, each with the key of its record."""
    found = connection.exec_driver_sql(
        _ROWS_PAGE, {"resource": resource, "after": after, "limit": limit}
    )
    return [(row_id, record_key(row_id, adopted)) for row_id, adopted in found]


def rows_found(connection: Connection, resource: str) -> int:
    """Count the rows that have a finding."""
    count: int = connection.exec_driver_sql(
        _ROWS_FOUND, {"resource": resource}
    ).scalar_one()
    return count


def counts(connection: Connection, resource: str) -> dict[FindingKind, int]:
    found = connection.exec_driver_sql(_COUNTS, {"resource": resource})
    return dict.fromkeys(FindingKind, 0) | {
        FindingKind(kind): count for kind, count in found
    }


def examples(connection: Connection, resource: str, limit: int) -> list[Finding]:
    """Read the findings that stand longest, at most *limit* of each kind."""
    found = connection.exec_driver_sql(
        _EXAMPLES, {"resource": resource, "limit": limit}
    )
    return [
        Finding(
            FindingKind(kind),
            metric_id,
            _record_id(kind, metric_id, record_id, adopted),
            tuple(columns),
            first_found_at,
        )
        for kind, metric_id, record_id, columns, first_found_at, adopted in found
    ]


def _record_id(
    kind: str, metric_id: str, record_id: str | None, adopted: str | None
) -> str | None:
    """The record to look up in Dataverse; None where none is there."""
    if kind != FindingKind.DIFFERENT:
        return record_id
    key = record_key(metric_id, adopted)
    return None if key is None else str(key)
