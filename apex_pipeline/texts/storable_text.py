"""Text that Postgres and UTF-8 can hold: without NUL and halves of surrogate pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """The text without what cannot be held, marked where it was."""
    return text.encode(errors="replace").decode().replace("\0", REPLACEMENT)


def storable_document(document: Any) -> Any:
    """The same for every text in a JSON document; `jsonb` refuses both even escaped."""
    match document:
        case str():
            return storable(document)
        case Mapping():
            return {
                storable(name): storable_document(value)
                for name, value in document.items()
            }
        case Sequence():
            return [storable_document(value) for value in document]
        case _:
            return document
