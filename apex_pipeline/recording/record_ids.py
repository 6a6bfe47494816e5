"""Ids of records: given by the client, or derived from its key or the content.

All are reproducible: the same record always gets the same id. Never change the
namespaces or the hashed text.
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
    """Return the id for a client's value: a UUID as it is, other text as a key.

    Raises:
        InvalidValueError: The value is neither a UUID nor a valid key.
    """
    if isinstance(value, UUID) or (isinstance(value, str) and is_uuid(value)):
        given = UUID(str(value))
        if given == _NIL:
            # Dataverse treats it as missing and generates a key.
            raise InvalidValueError("is the all-zero UUID, which is not a valid id")
        return given
    return id_from_key(value)


def id_from_key(value: object) -> UUID:
    """Derive the id from an idempotency key.

    Raises:
        InvalidValueError: The key is not printable text of 1 to 255 characters.
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
            f"must be printable text of 1 to {MAX_KEY_LENGTH} characters, without "
            "surrounding spaces"
        )
    return uuid5(NAMESPACE, value)


def id_from_content(values: Mapping[str, str]) -> UUID:
    """Derive the id of a record from its content.

    Args:
        values: Column to text as written; without `created_at` if the client gave none.
    """
    content = json.dumps(values, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return uuid5(_CONTENT_NAMESPACE, content)
