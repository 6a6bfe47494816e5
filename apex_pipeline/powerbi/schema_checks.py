"""Every JSON file against the schema that it names, as Microsoft publishes them.

The schemas lie in `schemas/` (MIT, github.com/microsoft/json-schemas, of 2026-08-19).
"""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from apex_pipeline.powerbi.pbir import SCHEMAS

_FOLDER = files("apex_pipeline.powerbi") / "schemas" / "fabric"
_MOBILE = (
    f"{SCHEMAS}item/report/definition/visualContainerMobileState/2.0.0/schema.json"
)
_CONTAINER = f"{SCHEMAS}item/report/definition/visualContainer/2.0.0/schema.json"

# Not among the published schemas that we keep: a phone layout holds a position alone.
_OURS: dict[str, dict[str, Any]] = {
    _MOBILE: {
        "type": "object",
        "properties": {
            "$schema": {"const": _MOBILE},
            "position": {"$ref": f"{_CONTAINER}#/definitions/VisualContainerPosition"},
        },
        "required": ["$schema", "position"],
        "additionalProperties": False,
    }
}


def schema_problems(contents: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with JSON files by their schemas.

    Args:
        contents: Path to content; a theme has no schema of its own.

    Raises:
        ImportError: jsonschema, which comes with the extra `dev`, is not installed.
    """
    import jsonschema  # noqa: PLC0415  only where it is checked
    from referencing import Registry, Resource  # noqa: PLC0415
    from referencing.jsonschema import DRAFT7  # noqa: PLC0415

    def retrieve(url: str) -> Resource[Any]:
        return Resource.from_contents(_schema(url), default_specification=DRAFT7)

    registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]  # attrs' alias is not seen
    validators: dict[str, jsonschema.Draft7Validator] = {}
    for path, content in contents.items():
        if "/StaticResources/" in path:
            continue
        url = content.get("$schema")
        if not isinstance(url, str) or not _is_known(url):
            yield f"{path}: names no schema that is known here: {url}."
            continue
        if url not in validators:
            validators[url] = jsonschema.Draft7Validator(
                _schema(url), registry=registry
            )
        for error in validators[url].iter_errors(dict(content)):
            yield f"{path}: {error.json_path}: {error.message[:200]}."


def _is_known(url: str) -> bool:
    if url in _OURS:
        return True
    return url.startswith(SCHEMAS) and _FOLDER.joinpath(url[len(SCHEMAS) :]).is_file()


def _schema(url: str) -> dict[str, Any]:
    if url in _OURS:
        return _OURS[url]
    text = _FOLDER.joinpath(url[len(SCHEMAS) :]).read_text(encoding="utf-8-sig")
    found: dict[str, Any] = json.loads(text)
    return found
