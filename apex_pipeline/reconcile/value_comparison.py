"""Compare the values of a record with those of its row, as Dataverse stores them."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from apex_pipeline.column_types import InvalidValueError, Text, Timestamp
from apex_pipeline.metrics import COLUMNS, Column

_IS_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# More than any number in a column has; writing out 1e999999 would flood the memory.
_MOST_DIGITS = 40


def differing_columns(
    row: Mapping[str, object], record: Mapping[str, object]
) -> tuple[str, ...]:
    """Name the columns of `campaign_metrics` in which the record differs.

    Both sides go through the conversion used for sending, so decimals are compared in
    the column's precision and times in whole seconds. A value that the column cannot
    hold counts as different.
    """
    return tuple(c.postgres for c in COLUMNS if not _is_held(c, row, record))


def usual(text: str) -> str:
    """The text, in lower case if it is a UUID."""
    return text.lower() if _IS_UUID.fullmatch(text) else text


def created_second(record: Mapping[str, object]) -> int | None:
    """A record's time in seconds since the epoch; None if it has none."""
    value = record.get("apex_createdat")
    try:
        return int(_instant(value).timestamp() // 1)
    except InvalidValueError:
        return None


def _is_held(
    column: Column, row: Mapping[str, object], record: Mapping[str, object]
) -> bool:
    try:
        sent = column.to_json(row)
        held = column.type.to_json(_read(column, record.get(column.dataverse)))
    except InvalidValueError:
        return False
    if isinstance(column.type, Text):
        return usual(str(json.loads(sent))) == usual(str(json.loads(held)))
    return sent == held


def _read(column: Column, value: object) -> object:
    """A record's value in the type of its column.

    Raises:
        InvalidValueError: The value has another type, or is missing.
    """
    match column.type:
        case Text():
            # Dataverse stores an empty text as no value.
            if value is None or isinstance(value, str):
                return value or ""
        case Timestamp():
            return _instant(value)
        case _:
            is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
            if is_number and abs(Decimal(value).adjusted()) < _MOST_DIGITS:  # type: ignore[arg-type]  # as just seen
                return value
    raise InvalidValueError("is not of the column's type")


def _instant(value: object) -> datetime:
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is not None:
                return instant.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidValueError("is not a date and time")
