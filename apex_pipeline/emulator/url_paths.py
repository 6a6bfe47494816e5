"""Segments of a resource path, and the keys in them."""

import re
from urllib.parse import unquote

from apex_pipeline.emulator import errors

_KEYED = re.compile(r"([^()]+)(?:\((.*)\))?", re.DOTALL).fullmatch
_SEGMENT = re.compile(r"(?:[^/']|'(?:[^']|'')*')+")


def split(path: str) -> list[str]:
    """Segments of a resource path, decoded; a slash between quotes does not split."""
    return _SEGMENT.findall(unquote(path).strip("/"))


def name_and_key(segment: str) -> tuple[str, str | None]:
    """`accounts(1)` as its name and what stands in parentheses, None without any."""
    match = _KEYED(segment)
    if match is None:
        raise errors.no_such_segment(segment[:200])
    return match[1], match[2]
