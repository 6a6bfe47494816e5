"""`campaign_metrics` as this database has it: made by our migration, or adopted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from apex_pipeline.recording.fields import ID
from apex_pipeline.recording.record_reading import Rules

# An instant is written with its zone, and a column without one takes the hour as it
# stands: in UTC, as it is read.
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

# The number is any that no other program takes.
_LOCK = "SELECT pg_advisory_xact_lock(730833204421059)"


@dataclass(frozen=True, slots=True)
class Table:
    """The table, for one transaction.

    Attributes:
        has_text_ids: Whether the ids are text, which tells capitals from small letters.
    """

    rules: Rules
    has_text_ids: bool


def begin(connection: Connection) -> Table:
    """Read how the table is, and make this transaction fit to write into it.

    Where nothing in the table keeps an id from standing there twice, those who write
    through here go one after the other.
    """
    now: datetime
    types: Mapping[str, str] | None
    now, _, types, has_key = connection.exec_driver_sql(_BEGIN).one()
    if not has_key:
        connection.exec_driver_sql(_LOCK)
    types = types or {}
    return Table(Rules(types, now), types.get(ID) != "uuid")
