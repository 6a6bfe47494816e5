"""The schema of Adaptive Cards, as a judge of what is posted to Teams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import Draft6Validator

FOLDER = Path(__file__).parent / "adaptive_card"
JSON_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
NEWEST = (1, 4)


def _without_classes(schema: Any) -> Any:
    """The package that distributes it also lets in objects of classes of its own."""
    if isinstance(schema, dict):
        return {name: _without_classes(value) for name, value in schema.items()}
    if isinstance(schema, list):
        kept = [each for each in schema if not _is_class(each)]
        return [_without_classes(each) for each in kept]
    return schema


def _is_class(schema: Any) -> bool:
    return (
        isinstance(schema, dict)
        and set(schema) == {"type"}
        and schema["type"] not in JSON_TYPES
    )


SCHEMA = _without_classes(json.loads((FOLDER / "schema.json").read_text()))


@cache
def _validator() -> Draft6Validator:
    # Not at the top: conftest.py loads this, and the library takes a second.
    from jsonschema import Draft6Validator  # noqa: PLC0415

    return Draft6Validator(SCHEMA)


def faults(card: dict[str, Any]) -> list[str]:
    """Where a card is not one, or asks for more than Teams shows everywhere."""
    # Teams' own extension, which the schema does not know.
    bare = {name: value for name, value in card.items() if name != "msteams"}
    found = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in _validator().iter_errors(bare)
    ]
    return found + list(_too_new(bare, "card"))


def _too_new(node: Any, path: str) -> Iterator[str]:
    """Elements and properties that came after version 1.4; the schema dates each."""
    if isinstance(node, list):
        for number, each in enumerate(node):
            yield from _too_new(each, f"{path}/{number}")
    if not isinstance(node, dict):
        return
    definition = SCHEMA["definitions"].get(node.get("type"), {})
    properties = dict(definition.get("properties", {}))
    for alternative in definition.get("anyOf", []):
        properties |= alternative.get("properties", {})
    for name, dated in [("", definition), *((n, properties.get(n, {})) for n in node)]:
        version = tuple(
            int(part) for part in str(dated.get("version", "1.0")).split(".")
        )
        if version > NEWEST:
            yield f"{path}/{name} came with {version}"
    for name, value in node.items():
        yield from _too_new(value, f"{path}/{name}")
