"""Canonical JSON (RFC 8785) of the values that events hold.

Python's encoder writes exactly that form for text, whole numbers that JavaScript can
represent, booleans, null, lists, and objects whose names are ASCII: ECMAScript escapes
the same characters in the same way, and orders ASCII names as code points. Everything
else is refused, so two encoders can never differ.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

Json: TypeAlias = Union[bool, int, str, "Sequence[Json]", "Mapping[str, Json]", None]

_LARGEST = 2**53 - 1

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def canonical(value: Json) -> bytes:
    """Encode a value.

    Raises:
        ValueError: The value holds something whose form is not certain.
    """
    _check(value)
    return as_stored(value)


def as_stored(value: Json) -> bytes:
    """Encode a value that came from the database, whatever somebody put there.

    Half as long as `canonical`. What that refuses has other bytes here than anything
    that it encodes, so a hash finds it.

    Raises:
        ValueError: The value is no JSON at all.
    """
    try:
        return _ENCODER.encode(value).encode()
    except TypeError as error:
        raise ValueError(str(error)) from error


def _check(value: object) -> None:
    match value:
        # bool is an int, and text a sequence.
        case None | bool() | str():
            return
        case int() if -_LARGEST <= value <= _LARGEST:
            return
        case dict():
            for name, each in value.items():
                if not (isinstance(name, str) and name.isascii()):
                    raise ValueError(f"{name!r:.80} cannot name a value here.")
                _check(each)
        case list() | tuple():
            for each in value:
                _check(each)
        case _:
            raise ValueError(f"{value!r:.80} has no certain form in JSON.")
