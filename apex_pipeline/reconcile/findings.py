"""Where rows and records do not agree, kept in Postgres until they do.

Rows whose record is missing or differs are kept with the mark that they bore, records
that are no row's with what they could be matched by. What each of them is, is told by
the view `dataverse_finding`, by what is known when it is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.metrics import record_key
from apex_pipeline.pending import spellings
from apex_pipeline.reconcile.comparison import created_second
from apex_pipeline.reconcile.records import Record
from apex_pipeline.reconcile.rows import Row

MOST_KEPT = 10_000
"""Findings on rows, and records that match no row, that are kept at most."""


class Kind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    """A row is marked, and has no record."""
    DIFFERENT = "different"
    """A record does not hold what its row holds."""
    UNKNOWN = "unknown"
    """No row explains the record."""
    DOUBLE = "double"
    """The record holds a row that has a record of its own."""
    OTHER_FLOW = "other_flow"
    """Another flow made the record for a row that has none of its own."""
    AMBIGUOUS = "ambiguous"
    """As before, but there are several such records, or several such rows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the view `dataverse_finding`."""

    kind: Kind
    metric_id: str | None
    record_id: str | None
    columns: tuple[str, ...]
    first_found_at: datetime


@dataclass(slots=True)
class Verdicts:
    """What came of comparing some rows and records.

    Attributes:
        missing: Rows without their record.
        different: Rows whose record differs, and in which columns.
        foreign: Records that are no row's, by key.
        settled_keys: Keys that were looked at, and are no row's record's as far as
            `foreign` does not say so.
        settled_ids: Rows that were looked at.
    """

    missing: list[Row] = field(default_factory=list)
    different: list[tuple[Row, tuple[str, ...]]] = field(default_factory=list)
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

_SETTLE_RECORDS = """
    DELETE FROM foreign_record
    WHERE resource = %(resource)s AND record_id = ANY(CAST(%(keys)s AS uuid[]))
"""

# A record's time may have been cut or rounded to the second. The bounds that hold for
# all let Postgres match them in one go, however many rows share a second.
_SEE = """
    INSERT INTO foreign_record AS known (
        resource, record_id, campaign_id, run_id, phase, created_second,
        candidates, metric_id, first_seen_at, last_seen_at
    )
    SELECT %(resource)s, record_id, campaign_id, run_id, phase, created_second,
        CASE WHEN cut > 0 THEN cut ELSE rounded END,
        CASE WHEN cut = 1 THEN cut_id WHEN cut = 0 AND rounded = 1 THEN rounded_id END,
        %(at)s, %(at)s
    FROM (
        SELECT seen.*, count(near.id) FILTER (WHERE near.is_cut) AS cut,
            count(near.id) FILTER (WHERE NOT near.is_cut) AS rounded,
            (array_agg(near.id) FILTER (WHERE near.is_cut))[1] AS cut_id,
            (array_agg(near.id) FILTER (WHERE NOT near.is_cut))[1] AS rounded_id
        FROM unnest(
            CAST(%(keys)s AS uuid[]), CAST(%(campaigns)s AS text[]),
            CAST(%(runs)s AS text[]), CAST(%(phases)s AS text[]),
            CAST(%(seconds)s AS bigint[])
        ) AS seen (record_id, campaign_id, run_id, phase, created_second)
        LEFT JOIN LATERAL (
            SELECT id, created_at >= to_timestamp(seen.created_second) AS is_cut
            FROM campaign_metrics
            WHERE created_at >= to_timestamp(seen.created_second - 1)
                AND created_at < to_timestamp(seen.created_second + 1)
                AND created_at >= to_timestamp(%(first)s)
                AND created_at < to_timestamp(%(last)s)
                AND lower(CAST(campaign_id AS text)) = seen.campaign_id
                AND lower(CAST(run_id AS text)) = seen.run_id
                AND coalesce(phase, '') = seen.phase
        ) AS near ON true
        GROUP BY record_id, campaign_id, run_id, phase, created_second
    ) AS matched
    WHERE cut + rounded > 0 OR %(room)s
        OR EXISTS (
            SELECT FROM foreign_record AS kept
            WHERE kept.resource = %(resource)s AND kept.record_id = matched.record_id
        )
    ON CONFLICT (resource, record_id) DO UPDATE
    SET campaign_id = excluded.campaign_id, run_id = excluded.run_id,
        phase = excluded.phase, created_second = excluded.created_second,
        candidates = excluded.candidates, metric_id = excluded.metric_id,
        last_seen_at = excluded.last_seen_at
"""

# A row that another flow delivered, and marked, is not missing: sent again it would
# stand there twice.
_MATCHES = """
    other.resource = %(resource)s
        AND other.run_id = lower(CAST(metric.run_id AS text))
        AND other.campaign_id = lower(CAST(metric.campaign_id AS text))
        AND other.phase = coalesce(metric.phase, '')
        AND isfinite(metric.created_at)
        AND other.created_second
            - CAST(floor(extract(epoch FROM metric.created_at)) AS bigint) IN (0, 1)
"""

_EXPLAINED = f"""
    WITH flagged AS (
        UPDATE foreign_record AS other SET is_row_missing = true
        FROM campaign_metrics AS metric
        WHERE metric.id = ANY(%(ids)s) AND {_MATCHES}
        RETURNING metric.id
    )
    SELECT CAST(id AS text) FROM flagged
"""  # noqa: S608  constants

_EXPLAIN = f"""
    WITH explained AS (
        SELECT metric.id AS metric_id, other.record_id
        FROM reconciliation_finding AS finding
        JOIN campaign_metrics AS metric ON metric.id = finding.metric_id
        JOIN foreign_record AS other ON {_MATCHES}
        WHERE finding.resource = %(resource)s AND finding.kind = 'missing'
    ), flagged AS (
        UPDATE foreign_record AS other SET is_row_missing = true
        FROM explained
        WHERE other.resource = %(resource)s AND other.record_id = explained.record_id
    )
    DELETE FROM reconciliation_finding AS finding
    WHERE finding.resource = %(resource)s
        AND finding.metric_id IN (SELECT metric_id FROM explained)
"""  # noqa: S608  constants

_FORGET_UNMARKED = """
    DELETE FROM reconciliation_finding AS finding
    WHERE finding.resource = %(resource)s AND NOT EXISTS (
        SELECT FROM campaign_metrics AS metric
        WHERE metric.id = finding.metric_id AND metric.exported_at IS NOT NULL
    )
"""

_FORGET_UNSEEN = """
    DELETE FROM foreign_record
    WHERE resource = %(resource)s AND last_seen_at < %(since)s
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

_OLDEST_FOREIGN = """
    SELECT CAST(record_id AS text) FROM foreign_record
    WHERE resource = %(resource)s AND last_seen_at < %(since)s
    ORDER BY last_seen_at, record_id
    LIMIT %(limit)s
"""

_ROWS_FOUND = """
    SELECT count(*) FROM reconciliation_finding WHERE resource = %(resource)s
"""

_UNMATCHED = """
    SELECT count(*) FROM foreign_record
    WHERE resource = %(resource)s AND candidates = 0
"""

_COUNTS = """
    SELECT kind, count(*) FROM dataverse_finding
    WHERE resource = %(resource)s GROUP BY kind
"""

_EXAMPLES = """
    SELECT kind, metric_id, record_id, columns, first_found_at FROM (
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
    """Keep what is wrong, and forget what is not any more."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    _settle(connection, resource, verdicts)
    wrong = [_wrong(row, Kind.MISSING, ()) for row in verdicts.missing]
    wrong += [_wrong(row, Kind.DIFFERENT, names) for row, names in verdicts.different]
    if wrong:
        common = {"resource": resource, "at": at}
        connection.exec_driver_sql(_FIND, [each | common for each in wrong])
    if verdicts.foreign:
        _see(connection, resource, verdicts.foreign, at)
    if verdicts.missing or verdicts.foreign:
        connection.exec_driver_sql(_EXPLAIN, {"resource": resource})


def _wrong(row: Row, kind: Kind, columns: Sequence[str]) -> dict[str, Any]:
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
    values = {"resource": resource, "ids": [*ids], "keys": [str(key) for key in keys]}
    if ids:
        connection.exec_driver_sql(_SETTLE_ROWS, values)
    if keys:
        connection.exec_driver_sql(_SETTLE_RECORDS, values)


def _see(
    connection: Connection, resource: str, records: dict[UUID, Record], at: datetime
) -> None:
    seconds = [created_second(each) for each in records.values()]
    dated = [second for second in seconds if second is not None]
    values = {
        "resource": resource,
        "keys": [str(key) for key in records],
        "campaigns": [_text(each, "apex_campaignid") for each in records.values()],
        "runs": [_text(each, "apex_runid") for each in records.values()],
        "phases": [_storable(each.get("apex_phase")) for each in records.values()],
        "seconds": seconds,
        "first": min(dated) - 1 if dated else None,
        "last": max(dated) + 1 if dated else None,
        "room": unmatched(connection, resource) < MOST_KEPT,
        "at": at,
    }
    connection.exec_driver_sql(_SEE, values)


def forget_unmarked(connection: Connection, resource: str) -> None:
    """Forget findings on rows that are pending again, or gone."""
    connection.exec_driver_sql(_FORGET_UNMARKED, {"resource": resource})


def forget_unseen(connection: Connection, resource: str, since: datetime) -> None:
    """Forget records that a pass over all of them has not seen."""
    connection.exec_driver_sql(_FORGET_UNSEEN, {"resource": resource, "since": since})


def explained(connection: Connection, resource: str, ids: Sequence[str]) -> set[str]:
    """Tell which of these rows another flow's record stands for, and keep that."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    values = {"resource": resource, "ids": list(ids)}
    return set(connection.exec_driver_sql(_EXPLAINED, values).scalars())


def rows_page(
    connection: Connection, resource: str, after: str | None, limit: int
) -> list[tuple[str, UUID | None]]:
    """Read ids of rows that have a finding, each with the key of its record."""
    found = connection.exec_driver_sql(
        _ROWS_PAGE, {"resource": resource, "after": after, "limit": limit}
    )
    return [(row_id, record_key(row_id, adopted)) for row_id, adopted in found]


def oldest_foreign(
    connection: Connection, resource: str, since: datetime, limit: int
) -> list[UUID]:
    """Name the records that have not been seen for longest."""
    found = connection.exec_driver_sql(
        _OLDEST_FOREIGN, {"resource": resource, "since": since, "limit": limit}
    ).scalars()
    return [UUID(text) for text in found]


def rows_found(connection: Connection, resource: str) -> int:
    """Count the rows that have a finding."""
    count: int = connection.exec_driver_sql(
        _ROWS_FOUND, {"resource": resource}
    ).scalar_one()
    return count


def unmatched(connection: Connection, resource: str) -> int:
    """Count the records that are kept though they match no row."""
    count: int = connection.exec_driver_sql(
        _UNMATCHED, {"resource": resource}
    ).scalar_one()
    return count


def counts(connection: Connection, resource: str) -> dict[Kind, int]:
    """Count what is wrong, by kind."""
    found = connection.exec_driver_sql(_COUNTS, {"resource": resource})
    return dict.fromkeys(Kind, 0) | {Kind(kind): count for kind, count in found}


def examples(connection: Connection, resource: str, limit: int) -> list[Finding]:
    """Read the findings that stand longest, at most *limit* of each kind."""
    found = connection.exec_driver_sql(
        _EXAMPLES, {"resource": resource, "limit": limit}
    )
    return [
        Finding(Kind(kind), metric_id, record_id, tuple(columns), first_found_at)
        for kind, metric_id, record_id, columns, first_found_at in found
    ]


def _text(record: Record, name: str) -> str:
    return _storable(record.get(name)).lower()


def _storable(value: object) -> str:
    """Somebody else's text as Postgres takes it: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()
