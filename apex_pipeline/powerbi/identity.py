"""Stable identifiers: each comes from the path of its object."""

from uuid import UUID, uuid5

_NAMESPACE = UUID("6d3c0e5a-7f0b-5a57-9a5e-3f2f6f1c8b14")


def tag(*path: str) -> str:
    """A UUID for an object, from its path in the project."""
    return str(uuid5(_NAMESPACE, "/".join(path)))


def page_id(page: str) -> str:
    """The folder name of a page: 20 hexadecimal digits.

    Desktop names folders so. Newer versions are reported to ignore other names in
    silence, although the format's reference allows them.
    """
    return uuid5(_NAMESPACE, f"page/{page}").hex[:20]


def visual_id(page: str, title: str) -> str:
    """The folder name of a visual: 20 hexadecimal digits."""
    return uuid5(_NAMESPACE, f"visual/{page}/{title}").hex[:20]
