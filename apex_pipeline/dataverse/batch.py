"""The multipart bodies of `$batch` (Microsoft Learn, "Execute batch operations").

Operations are independent; change sets are not used. A change set is atomic, so one bad
row would fail the good ones too. So parts do not nest, and few headers matter: the
standard library's parser of mail would interpret all of them, and stumble over some.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from apex_pipeline.microsoft.http_answer import Answer

_BOUNDARY = re.compile(
    r'multipart/(?:[^"]|"[^"]*")*?;\s*boundary=(?:"([^"]+)"|([^\s";]+))', re.IGNORECASE
)
_EMPTY_LINE = re.compile(rb"^\r?\n", re.MULTILINE)
_FOLD = re.compile(rb"\r?\n[ \t]+")
_HEADER_NAME = re.compile(rb"[!-9;-~]+")
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
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise MalformedBatchError("the answer is not multipart")
    boundary = (found[1] or found[2]).encode("latin-1", "replace")
    return [
        _decode_part(part, number)
        for number, part in enumerate(_divide(body, boundary), 1)
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


def _divide(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the lines with the boundary (RFC 2046, 5.1.1)."""
    parts: list[bytes] = []
    begin: int | None = None
    line = rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?$"
    for found in re.finditer(line, body, re.MULTILINE):
        if begin is not None:
            part = body[begin : found.start()]
            parts.append(part.removesuffix(b"\n").removesuffix(b"\r"))
        if found[1] and parts:
            return parts
        if len(parts) > MAX_OPERATIONS:
            raise MalformedBatchError(
                f"the answer has more than {MAX_OPERATIONS} parts"
            )
        begin = found.end() + 1
    raise MalformedBatchError("the answer is cut off")


def _decode_part(part: bytes, number: int) -> Answer:
    outer, payload = _headers(part)
    media_type = outer.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/http":
        raise MalformedBatchError("a part is not of type application/http")
    status_line, _, rest = payload.lstrip().partition(b"\n")
    status = _STATUS_LINE.fullmatch(status_line)
    if status is None:
        raise MalformedBatchError("a part does not begin with an HTTP status line")
    headers, body = _headers(rest)
    content_id = outer.get("content-id", headers.get("content-id"))
    if content_id is not None and content_id.strip(" <>") != str(number):
        raise MalformedBatchError(f"part {number} is the answer to another operation")
    return Answer(int(status[1]), headers, body)


def _headers(data: bytes) -> tuple[dict[str, str], bytes]:
    """The headers by name in lower case, and what follows the empty line."""
    end = _EMPTY_LINE.search(data)
    head, rest = (data[: end.start()], data[end.end() :]) if end else (data, b"")
    headers = {}
    for line in _FOLD.sub(b" ", head).splitlines():
        name, colon, value = line.partition(b":")
        if not colon or _HEADER_NAME.fullmatch(name) is None:
            raise MalformedBatchError("a part has a malformed header")
        headers[name.decode().lower()] = value.decode("utf-8", "replace").strip()
    return headers, rest
