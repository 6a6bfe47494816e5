"""Records that belong to no row, stored with the values that could match them to one.

A record matches a row with the same campaign, run, phase and time. The replaced flow,
which chose its own ids, created such records.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from apex_pipeline.reconcile.dataverse_records import Record
from apex_pipeline.reconcile.value_comparison import created_second

MOST_UNMATCHED = 10_000
"""The most records without a matching row to store; later ones are left out."""

# A record's time may have been truncated or rounded to the second. The common bounds let
# Postgres match all records in one scan, however many rows share a second.
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

# A row that another flow delivered and marked is not missing: sending it again would
# duplicate it.
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

_FORGET = """
    DELETE FROM foreign_record
    WHERE resource = %(resource)s AND record_id = ANY(CAST(%(keys)s AS uuid[]))
"""

_FORGET_UNSEEN = """
    DELETE FROM foreign_record
    WHERE resource = %(resource)s AND last_seen_at < %(since)s
"""

_LONGEST_UNSEEN = """
    SELECT CAST(record_id AS text) FROM foreign_record
    WHERE resource = %(resource)s AND last_seen_at < %(since)s
    ORDER BY last_seen_at, record_id
    LIMIT %(limit)s
"""

_UNMATCHED = """
    SELECT count(*) FROM foreign_record
    WHERE resource = %(resource)s AND candidates = 0
"""


def see(
    connection: Connection, resource: str, records: Mapping[UUID, Record], at: datetime
) -> None:
    """Store records that belong to no row, each with the row that it matches, if any."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    seconds = [created_second(each) for each in records.values()]
    dated = [second for second in seconds if second is not None]
    values = {
        "resource": resource,
        "keys": [str(key) for key in records],
        "campaigns": [_name(each, "apex_campaignid") for each in records.values()],
        "runs": [_name(each, "apex_runid") for each in records.values()],
        "phases": [_storable(each.get("apex_phase")) for each in records.values()],
        "seconds": seconds,
        "first": min(dated) - 1 if dated else None,
        "last": max(dated) + 1 if dated else None,
        "room": unmatched(connection, resource) < MOST_UNMATCHED,
        "at": at,
    }
    connection.exec_driver_sql(_SEE, values)


def explain_missing(connection: Connection, resource: str) -> None:
    """Delete "missing" findings of rows for which another flow's record exists."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    connection.exec_driver_sql(_EXPLAIN, {"resource": resource})


def explained(connection: Connection, resource: str, ids: Sequence[str]) -> set[str]:
    """The given rows for which another flow's record exists; flags those records."""
    connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
    values = {"resource": resource, "ids": list(ids)}
    return set(connection.exec_driver_sql(_EXPLAINED, values).scalars())


def forget(connection: Connection, resource: str, keys: Iterable[UUID]) -> None:
    """Delete records that no longer exist, or that belong to a row."""
    values = {"resource": resource, "keys": [str(key) for key in keys]}
    connection.exec_driver_sql(_FORGET, values)


def forget_unseen(connection: Connection, resource: str, since: datetime) -> None:
    """Delete records that a pass over all records has not seen."""
    connection.exec_driver_sql(_FORGET_UNSEEN, {"resource": resource, "since": since})


def longest_unseen(
    connection: Connection, resource: str, since: datetime, limit: int
) -> list[UUID]:
    """The records that have not been seen for longest."""
    found = connection.exec_driver_sql(
        _LONGEST_UNSEEN, {"resource": resource, "since": since, "limit": limit}
    ).scalars()
    return [UUID(text) for text in found]


def unmatched(connection: Connection, resource: str) -> int:
    """Count the stored records that match no row."""
    count: int = connection.exec_driver_sql(
        _UNMATCHED, {"resource": resource}
    ).scalar_one()
    return count


def _name(record: Record, name: str) -> str:
    return _storable(record.get(name)).lower()


def _storable(value: object) -> str:
    """Foreign text made safe for Postgres: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode("utf-8", "replace").decode()
