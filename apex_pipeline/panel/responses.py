"""JSON and HTML answers with entity tags, which save sending unchanged content."""

import json
from collections.abc import Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from apex_pipeline.panel.api_documents import plain

_PASSING = {"generated_at", "poll_after_s"}

JSON = "application/json"
HTML = "text/html; charset=utf-8"


def json_response(
    request: Request,
    document: Mapping[str, object],
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON answer; its tag ignores members that change with time alone."""
    body = _encoded(document)
    lasting = {name: document[name] for name in document if name not in _PASSING}
    return tagged(request, body, JSON, status, headers, identity=_encoded(lasting))


def tagged(
    request: Request,
    body: bytes,
    media_type: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    identity: bytes | None = None,
) -> Response:
    """A body with its entity tag, or 304 if the client already has it.

    The tag is weak, because the body may be compressed on the way.
    """
    if status != 200:
        return Response(
            body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type
        )
    tag = f'W/"{sha256(identity or body).hexdigest()[:32]}"'
    every = {"Cache-Control": "private, no-cache", "ETag": tag, **(headers or {})}
    if has_tag(request, tag):
        return Response(None, 304, every)
    return Response(body, 200, every, media_type)


def _encoded(document: Mapping[str, object]) -> bytes:
    return json.dumps(
        document, default=plain, separators=(",", ":"), allow_nan=False
    ).encode()


def has_tag(request: Request, tag: str) -> bool:
    """Whether the client already has this version (RFC 9110, 13.1.2)."""
    listed = ",".join(request.headers.getlist("if-none-match")).split(",")
    known = {each.strip().removeprefix("W/") for each in listed}
    return "*" in known or tag.removeprefix("W/") in known
