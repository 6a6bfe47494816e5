"""The chain of hashes: what makes a change of any event visible; pure."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from apex_pipeline.audit.canonical_json import Json, as_stored, canonical

COVERED = (
    *("sequence", "act", "at", "actor", "action", "outcome", "subject", "counts"),
    *("before", "after", "reason", "run_id", "version", "previous_hash"),
)
"""The columns that an event's hash covers: all but the hash itself."""

_OBJECTS = slice(COVERED.index("subject"), COVERED.index("after") + 1)
_PLACED = ("at", "previous_hash", "sequence")

GENESIS = bytes(32).hex()
"""What stands in the first event in place of the hash of the one before it."""


def digest(document: Mapping[str, Json]) -> str:
    """The hash of an event, in hexadecimal digits: SHA-256 of its canonical JSON.

    Args:
        document: `COVERED` to value; times as ISO 8601 in UTC, hashes in hexadecimal.

    Raises:
        ValueError: It holds something that no event can hold.
    """
    return sha256(canonical(document)).hexdigest()


def digest_as_stored(document: Mapping[str, Json]) -> str:
    """The hash of an event that came from the database, in half the time.

    Raises:
        ValueError: It holds something that is no JSON.
    """
    return sha256(as_stored(document)).hexdigest()


def open_parts(values: Mapping[str, Json]) -> list[str]:
    """The canonical JSON of an event, without what only its place in the trail tells.

    Args:
        values: `COVERED` to value, without `at`, `previous_hash` and `sequence`.

    Returns:
        Four parts, between which those three go, in this order: the first two within
        the quotes that are there, the last as digits.

    Raises:
        ValueError: It holds something that no event can hold.
    """
    parts: list[str] = []
    text = "{"
    for name in sorted((*values, *_PLACED)):
        text += "," if len(text) > 1 or parts else ""
        if name in values:
            text += canonical({name: values[name]}).decode()[1:-1]
        else:
            quote = "" if name == "sequence" else '"'
            parts.append(f'{text}"{name}":{quote}')
            text = quote
    return [*parts, f"{text}}}"]


def document(values: Sequence[Any]) -> dict[str, Json]:
    """What the hash covers, from the columns in the order of `COVERED`.

    The objects among them are still JSON text: parsing them together takes a quarter of
    the time that a driver needs for each by itself.

    Raises:
        ValueError: A number in them is too long to be read.
    """
    texts = (text or "null" for text in values[_OBJECTS])
    objects = json.loads(f"[{','.join(texts)}]")
    return dict(
        zip(
            COVERED,
            (*values[: _OBJECTS.start], *objects, *values[_OBJECTS.stop :]),
            strict=True,
        )
    )
