"""The multipart bodies of `$batch` (Microsoft Learn, "Execute batch operations").

Operations are independent; change sets are not used. A change set is atomic, so one bad
row would fail the good ones too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.errors import CloseBoundaryNotFoundDefect
from email.message import Message
from email.parser import BytesParser
from uuid import uuid4

from apex_pipeline.microsoft.http_answer import Answer

_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})(?: .*)?\s*")

MAX_OPERATIONS = 1000
"""The most requests in one `$batch`."""


class MalformedBatchError(ValueError):
    """The answer to a `$batch` is not the expected multipart document."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request inside a `$batch`; `path` is root-relative, `body` is JSON."""

    method: str
    path: str
    body: str


def encode(operations: Sequence[Operation]) -> tuple[str, bytes]:
    """Content type and body of a `$batch` request."""
    boundary = f"batch_{uuid4().hex}"
    parts = [_encode_part(boundary, operation) for operation in operations]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return f'multipart/mixed; boundary="{boundary}"', body


def decode(content_type: str, body: bytes) -> list[Answer]:
    """The answers in the order of their requests.

    Our operations have no `Content-ID`, and then Dataverse's answers have none either.
    An id that numbers the parts is harmless; any other means that they are out of order.

    Raises:
        MalformedBatchError: The body is not multipart or is cut off, or a part is not an
            HTTP answer or carries another part's `Content-ID`.
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise MalformedBatchError("the answer is not multipart")
    if any(isinstance(each, CloseBoundaryNotFoundDefect) for each in message.defects):
        raise MalformedBatchError("the answer is cut off")
    return [
        _decode_part(part, number)
        for number, part in enumerate(message.iter_parts(), 1)
    ]


def _encode_part(boundary: str, operation: Operation) -> bytes:
    body = operation.body.encode()
    # The documentation's simple form has no inner Content-Length, but services have been
    # seen to reject the stream as unreadable without it.
    head = (
        f"--{boundary}\r\n"
        "Content-Type: application/http\r\n"
        "Content-Transfer-Encoding: binary\r\n"
        "\r\n"
        f"{operation.method} {operation.path} HTTP/1.1\r\n"
        "Content-Type: application/json; type=entry\r\n"
        f"Content-Length: {len(body)}\r\n"
        "\r\n"
    )
    return head.encode() + body + b"\r\n"


def _decode_part(part: Message, number: int) -> Answer:
    payload = part.get_payload(decode=True)
    if part.get_content_type() != "application/http" or not isinstance(payload, bytes):
        raise MalformedBatchError("a part is not of type application/http")
    status_line, _, rest = payload.lstrip().partition(b"\n")
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise MalformedBatchError("a part does not begin with an HTTP status line")
    message = BytesParser(policy=policy.HTTP).parsebytes(rest)
    content_id = part.get("Content-ID", message.get("Content-ID"))
    if content_id is not None and str(content_id).strip(" <>") != str(number):
        raise MalformedBatchError(f"part {number} is the answer to another operation")
    body = message.get_payload(decode=True)
    return Answer(
        int(status[1]),
        {name.lower(): str(value) for name, value in message.items()},
        body if isinstance(body, bytes) else b"",
    )
