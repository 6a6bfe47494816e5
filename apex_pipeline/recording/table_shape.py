"""Read the shape of `campaign_metrics`, created by our migration or adopted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from apex_pipeline.recording.fields import ID
from apex_pipeline.recording.record_reading import Rules

# Instants are sent with a zone. A column without time zone stores the session's local
# time, so the session must be in UTC, as it is when the column is read.
_BEGIN = """
    SELECT now(), set_config('TimeZone', 'UTC', true),
        (SELECT json_object_agg(attname, format_type(atttypid, atttypmod))
         FROM pg_attribute
         WHERE attrelid = 'campaign_metrics'::regclass
             AND attnum > 0 AND NOT attisdropped),
        EXISTS (
            SELECT FROM pg_index
            JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
            WHERE indrelid = 'campaign_metrics'::regclass AND attname = 'id'
                AND indnkeyatts = 1 AND indpred IS NULL
                AND indisunique AND indisvalid AND indimmediate
        )
"""

# A lock on an empty table, since any login may hold an advisory lock.
_LOCK = "LOCK TABLE recording_lock IN SHARE ROW EXCLUSIVE MODE"


@dataclass(frozen=True, slots=True)
class TableShape:
    """The table's shape, valid for one transaction.

    Attributes:
        rules: Limits of its columns.
        has_text_ids: Whether ids are text, which is case-sensitive.
    """

    rules: Rules
    has_text_ids: bool


def begin(connection: Connection) -> TableShape:
    """Read the table's shape and prepare this transaction for writing.

    If the table has no unique key on `id`, a lock serialises these writers to prevent
    duplicate ids.
    """
    now: datetime
    types: Mapping[str, str] | None
    now, _, types, has_key = connection.exec_driver_sql(_BEGIN).one()
    if not has_key:
        connection.exec_driver_sql(_LOCK)
    types = types or {}
    return TableShape(Rules(types, now), types.get(ID) != "uuid")
