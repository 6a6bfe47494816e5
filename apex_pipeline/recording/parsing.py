"""Text to the names and values that it holds: JSON objects, and cells of a table. Pure.

No number passes through a binary float: 0.1 is one tenth.
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
    """Read one JSON object; a name that it holds twice has the value `Repeated`.

    A byte order mark before it is ignored, as RFC 8259, 8.1, allows.

    Raises:
        MalformedRecordError: It is not JSON.
        InvalidRecordError: It is JSON of something else.
    """
    try:
        found = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_int=_decimal,
            parse_float=_decimal,
            # Not JSON, but what some writers of it write; the field is told with it.
            parse_constant=Decimal,
        )
    except json.JSONDecodeError as error:
        raise MalformedRecordError(
            f"this is not JSON: {error.msg} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise MalformedRecordError("this JSON is nested too deep") from None
    if not isinstance(found, dict):
        raise InvalidRecordError("this is not a JSON object")
    return found


def decode_json(data: bytes) -> str:
    """The text of a JSON document: UTF-8 or, with a byte order mark, UTF-16.

    Bytes that are not UTF-8 become what no field takes, and the field is told.

    Raises:
        MalformedRecordError: It begins as UTF-16, and is not.
    """
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode(errors="surrogateescape")
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        raise MalformedRecordError("this is not UTF-16, though it begins so") from None


def parse_cells(
    cells: Mapping[str, str], spelling: Spelling, *, decimal_comma: bool = False
) -> dict[str, object]:
    """Read cells of text by the column that they belong to; an empty one is absent.

    With decimal commas, a cell that holds a point is no number: it may mean thousands.
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
        # The exponent alone has more than eighteen digits.
        return Decimal("Infinity")
