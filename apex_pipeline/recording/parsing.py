"""Parse JSON objects and table cells into names and values. Pure.

Numbers never pass through binary floats, so 0.1 stays exact.
"""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from apex_pipeline.column_types import DecimalNumber, WholeNumber
from apex_pipeline.errors import InvalidRecordError, MalformedRecordError
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.recording.fields import Repeated, Spelling

_NUMERIC = {
    c.postgres for c in COLUMNS if isinstance(c.type, WholeNumber | DecimalNumber)
}
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf|infinity)",
    re.IGNORECASE | re.ASCII,
)


def parse_json(text: str) -> dict[str, object]:
    """Parse one JSON object; a name that appears twice has the value `Repeated`.

    A leading byte order mark is ignored, as RFC 8259, 8.1, allows.

    Raises:
        MalformedRecordError: The text is not JSON.
        InvalidRecordError: It is JSON but not an object.
    """
    try:
        found = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_int=_decimal,
            parse_float=_decimal,
            # NaN and Infinity are not JSON, but some writers produce them. Parse them,
            # so that the message can name the field.
            parse_constant=Decimal,
        )
    except json.JSONDecodeError as error:
        raise MalformedRecordError(
            f"this is not JSON: {error.msg} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise MalformedRecordError("this JSON is nested too deeply") from None
    if not isinstance(found, dict):
        raise InvalidRecordError("this is not a JSON object")
    return found


def decode_json(data: bytes) -> str:
    """Decode a JSON document: UTF-8 or, with a byte order mark, UTF-16.

    Bytes that are not UTF-8 become surrogates, which validation rejects with the
    field's name.

    Raises:
        MalformedRecordError: It has a UTF-16 byte order mark but is not UTF-16.
    """
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode(errors="surrogateescape")
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise MalformedRecordError(
            "this is not UTF-16, although it has its byte order mark"
        ) from None


def parse_cells(
    cells: Mapping[str, str], spelling: Spelling, *, decimal_comma: bool = False
) -> dict[str, object]:
    """Parse cells according to their columns; empty cells are left out.

    With decimal commas, a cell with a point is not a number, because the point may
    separate thousands.
    """
    number = _number_with_comma if decimal_comma else _number
    return {
        name: number(cell) if spelling.columns.get(name) in _NUMERIC else cell
        for name, cell in cells.items()
        if cell
    }


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = Repeated()
            seen.add(name)
    return found


def _number(cell: str) -> Decimal | str:
    text = cell.strip()
    return _decimal(text) if _NUMBER.fullmatch(text) else cell


def _number_with_comma(cell: str) -> Decimal | str:
    return cell if "." in cell else _number(cell.replace(",", "."))


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        # The exponent has more than eighteen digits.
        return Decimal("Infinity")
