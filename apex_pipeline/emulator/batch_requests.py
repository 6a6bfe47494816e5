"""`$batch`: many operations in one multipart request, and change sets within it.

From "Execute batch operations using the Web API": at most 1,000 operations, in order,
one after the other; without `odata.continue-on-error` the first failure ends it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit
from uuid import uuid4

from apex_pipeline.emulator import web_api_errors, wire
from apex_pipeline.emulator.emulated_environment import EmulatedEnvironment
from apex_pipeline.emulator.wire import OperationRequest, Response

MOST_OPERATIONS = 1000
_ROOT = re.compile(r"/api/data/v9\.\d/")
_BOUNDARY = re.compile(r'boundary="?([^";,\s]+)"?', re.IGNORECASE)
_REFERENCE = re.compile(r"\$(\d+)")
_CRLF = "\r\n"

Handler = Callable[[OperationRequest], Response]


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One part of a multipart body."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class OperationAnswer:
    """An operation's answer, with the Content-ID that it echoes."""

    response: Response
    content_id: str | None = None


class _ChangeSetFailedError(Exception):
    """Rolls a change set back; its argument is the answer of the one that failed."""


def run(
    env: EmulatedEnvironment, handle: Handler, request: OperationRequest
) -> Response:
    """Carry out a batch; `handle` answers single operations and never raises."""
    given = boundary_of(request.headers.get("content-type", ""))
    parts = list(split(request.body, given))
    if not parts:
        raise _malformed("The batch holds no operation.")
    operations = [_operations(part) for part in parts]
    if sum(len(each) for each in operations) > MOST_OPERATIONS:
        raise web_api_errors.too_many_operations(MOST_OPERATIONS)
    for part, each in zip(parts, operations, strict=True):
        _check(each, in_change_set=each != [part])
    keep_going = "odata.continue-on-error" in request.preferences()
    blocks: list[str] = []
    codes: dict[str, None] = {}
    rows, outer = 0, 200
    for part, members in zip(parts, operations, strict=True):
        answers, block = _run_part(env, handle, request, (part, members))
        blocks.append(block)
        rows += sum(answer.response.rows for answer in answers)
        codes |= dict.fromkeys(
            answer.response.code for answer in answers if answer.response.code
        )
        worst = max(answer.response.status for answer in answers)
        if worst >= 400 and not keep_going:
            blocks, outer = [block], worst
            break
    boundary = f"batchresponse_{uuid4()}"
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
    body = _enclosed(boundary, blocks).encode()
    return Response(outer, body, headers, rows, ",".join(codes) or None)


def boundary_of(content_type: str) -> str:
    """The boundary that a Content-Type names."""
    match = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/mixed") or match is None:
        raise _malformed(
            f"The content type '{content_type[:100]}' is not multipart/mixed with a"
            " boundary."
        )
    return match[1]


def split(body: bytes, boundary: str) -> Iterator[BodyPart]:
    """The parts between the boundaries; line ends may be CRLF or LF."""
    marker = b"--" + re.escape(boundary.encode())
    pieces = re.split(rb"(?:\A|\r?\n)" + marker + rb"(--)?[ \t]*(?=\r?\n|\Z)", body)
    if len(pieces) < 3 or pieces[-2] is None:
        raise _malformed("The batch does not end with its boundary.")
    for piece in pieces[2:-2:2]:
        head, _, rest = _head_and_body(piece.lstrip(b"\r\n"))
        yield BodyPart(_headers(head), rest)


def _operations(part: BodyPart) -> list[BodyPart]:
    """The part itself, or the operations of the change set that it is."""
    if "multipart/mixed" not in part.headers.get("content-type", ""):
        return [part]
    return list(split(part.body, boundary_of(part.headers["content-type"])))


def _check(operations: list[BodyPart], *, in_change_set: bool) -> None:
    """Headers of operations, before anything is executed; worded as by OData's reader."""
    seen = set()
    for part in operations:
        if part.headers.get("content-transfer-encoding", "").lower() != "binary":
            raise _malformed(
                "A missing or invalid 'Content-Transfer-Encoding' header was found. The"
                " 'Content-Transfer-Encoding' header must be specified for each batch"
                " operation, and its value must be 'binary'."
            )
        content_id = part.headers.get("content-id")
        if in_change_set and content_id in seen and content_id is not None:
            raise _malformed(
                f"The content ID '{content_id}' was found more than once in the same"
                " change set or same batch request. Content IDs have to be unique across"
                " all operations of a change set."
            )
        seen.add(content_id)


def _run_part(
    env: EmulatedEnvironment,
    handle: Handler,
    outer: OperationRequest,
    whole: tuple[BodyPart, list[BodyPart]],
) -> tuple[list[OperationAnswer], str]:
    part, members = whole
    if members == [part]:
        answer = OperationAnswer(
            handle(_inner_request(outer, part, {})), part.headers.get("content-id")
        )
        return [answer], _http_part(answer)
    if not members:
        raise _malformed("The change set holds no operation.")
    answers = _run_change_set(env, handle, outer, members)
    if answers[0].response.status >= 400:
        return answers, _http_part(answers[0])
    boundary = f"changesetresponse_{uuid4()}"
    inner = _enclosed(boundary, [_http_part(answer) for answer in answers])
    kind = f'Content-Type: multipart/mixed; boundary="{boundary}"'
    return answers, f"{kind}{_CRLF}{_CRLF}{inner}"


def _run_change_set(
    env: EmulatedEnvironment,
    handle: Handler,
    outer: OperationRequest,
    members: list[BodyPart],
) -> list[OperationAnswer]:
    """All or nothing; a failure is the set's one answer (OData's rule)."""
    answers: list[OperationAnswer] = []
    created: dict[str, str] = {}
    try:
        with env.writing():
            for each in members:
                answer = _run_member(handle, outer, each, created)
                answers.append(answer)
                _roll_back_on_failure(answer)
                location = answer.response.headers.get("OData-EntityId")
                if location and answer.content_id:
                    created[answer.content_id] = location
    except _ChangeSetFailedError as failure:
        return [failure.args[0]]
    return answers


def _roll_back_on_failure(answer: OperationAnswer) -> None:
    if answer.response.status >= 400:
        raise _ChangeSetFailedError(answer)


def _run_member(
    handle: Handler, outer: OperationRequest, part: BodyPart, created: dict[str, str]
) -> OperationAnswer:
    content_id = part.headers.get("content-id")
    try:
        if content_id is None:
            raise web_api_errors.malformed_url(
                "Content-ID is missing in a change set. Each operation needs one."
            )
        request = _inner_request(outer, part, created)
        if request.method == "GET":
            raise _malformed("A change set must not hold GET requests.")
    except web_api_errors.WebApiError as error:
        return OperationAnswer(wire.error_response(error, ""), content_id)
    return OperationAnswer(handle(request), content_id)


def _inner_request(
    outer: OperationRequest, part: BodyPart, created: dict[str, str]
) -> OperationRequest:
    if not part.headers.get("content-type", "").startswith("application/http"):
        raise _malformed("A part is not of type application/http.")
    start, _, rest = part.body.lstrip(b"\r\n").partition(b"\n")
    words = start.decode("utf-8", "replace").strip().split(" ")
    if len(words) < 3 or not words[-1].startswith("HTTP/"):
        raise _malformed("A part does not begin with a request line.")
    head, _, body = _head_and_body(rest)
    url = _referenced(" ".join(words[1:-1]), created)
    parts = urlsplit(url)
    match = _ROOT.match(parts.path)
    path = parts.path[match.end() :] if match else parts.path.lstrip("/")
    if path.lower() == "$batch":
        raise _malformed("A batch must not hold another batch.")
    if created:
        body = _REFERENCED_IN_BODY.sub(
            lambda found: _referenced(found[0].decode(), created).encode(), body
        )
    return OperationRequest(
        words[0].upper(), path, parts.query, _headers(head), body, outer.api
    )


_REFERENCED_IN_BODY = re.compile(rb'(?<=")\$\d+(?=")')


def _referenced(url: str, created: dict[str, str]) -> str:
    """Replace `$1` by what the operation of that Content-ID created."""
    match = _REFERENCE.match(url)
    if match is None:
        return url
    if match[1] not in created:
        raise web_api_errors.no_such_content_id(match[0])
    return created[match[1]] + url[match.end() :]


def _head_and_body(text: bytes) -> tuple[bytes, bytes, bytes]:
    if text.startswith((b"\r\n", b"\n")):
        return b"", b"", text.lstrip(b"\r\n")
    match = re.search(rb"\r?\n\r?\n", text)
    if match is None:
        return text, b"", b""
    return text[: match.start()], match[0], text[match.end() :]


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _http_part(answer: OperationAnswer) -> str:
    response = answer.response
    reason = HTTPStatus(response.status).phrase
    content_id = f"Content-ID: {answer.content_id}{_CRLF}" if answer.content_id else ""
    headers = {"OData-Version": "4.0", **response.headers}
    if "OData-EntityId" in headers:
        headers["Location"] = headers["OData-EntityId"]
    if response.status >= 400:
        headers["REQ_ID"] = str(uuid4())
    lines = "".join(f"{name}: {value}{_CRLF}" for name, value in headers.items())
    return (
        f"Content-Type: application/http{_CRLF}"
        f"Content-Transfer-Encoding: binary{_CRLF}{content_id}{_CRLF}"
        f"HTTP/1.1 {response.status} {reason}{_CRLF}{lines}{_CRLF}"
        f"{response.body.decode()}"
    )


def _enclosed(boundary: str, blocks: list[str]) -> str:
    parts = "".join(f"--{boundary}{_CRLF}{block}{_CRLF}" for block in blocks)
    return f"{parts}--{boundary}--{_CRLF}"


def _malformed(reason: str) -> web_api_errors.WebApiError:
    return web_api_errors.malformed_payload("$batch", reason)
