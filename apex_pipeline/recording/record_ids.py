"""Ids of records: a client's own, made from its key, or made from the content.

All are reproducible, so whoever sends a record again names the same row. The namespaces,
and the text that is hashed, must stay as they are for that.
"""

import json
from collections.abc import Mapping
from uuid import UUID, uuid5

from apex_pipeline.column_types import InvalidValueError
from apex_pipeline.recording.fields import Repeated, is_uuid

NAMESPACE = UUID("fd8eded5-3e3c-5496-88a3-ec24d9a81bbb")
"""uuid5 of the URL namespace and `apex_pipeline/campaign_metrics`."""

MAX_KEY_LENGTH = 255

_CONTENT_NAMESPACE = uuid5(NAMESPACE, "content")
_NIL = UUID(int=0)


def id_from_client(value: object) -> UUID:
    """The id that a client gave: a UUID is the row's id, other text a key to it.

    Raises:
        InvalidValueError: It can be neither.
    """
    if isinstance(value, UUID) or (isinstance(value, str) and is_uuid(value)):
        given = UUID(str(value))
        if given == _NIL:
            # Dataverse takes it for no key at all, and makes one up.
            raise InvalidValueError("is the UUID of zeros, which is no key")
        return given
    return id_from_key(value)


def id_from_key(value: object) -> UUID:
    """The id that an idempotency key stands for.

    Raises:
        InvalidValueError: It is not printable text of 1 to 255 characters.
    """
    if isinstance(value, Repeated):
        raise InvalidValueError("is given more than once")
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_KEY_LENGTH
        or not value.isprintable()
        or value != value.strip()
    ):
        raise InvalidValueError(
            f"has to be printable text of 1 to {MAX_KEY_LENGTH} characters, without "
            "spaces around it"
        )
    return uuid5(NAMESPACE, value)


def id_from_content(values: Mapping[str, str]) -> UUID:
    """The id of a record that has nothing but its content to be known by.

    Args:
        values: Column to text, as it is written; without `created_at` where the client
            gave none.
    """
    content = json.dumps(values, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return uuid5(_CONTENT_NAMESPACE, content)
