"""The HTTP surface: Starlette routes, bodies, headers, dropped connections."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request as HttpRequest
from starlette.responses import JSONResponse, Response as HttpResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from apex_pipeline.emulator import admin, graph_api, web_api_errors, wire
from apex_pipeline.emulator.identity_provider import GRAPH_PATH
from apex_pipeline.emulator.instance import ROOT, Arrival, Dropped, Emulator
from apex_pipeline.emulator.registered_applications import TokenError, basic_credentials
from apex_pipeline.emulator.request_log import Entry
from apex_pipeline.emulator.wire import Response

_TURNS_TO_DISCONNECT = 10

Answering = Callable[[Arrival], Awaitable[tuple[Response, list[tuple[str, str]]]]]


def make_app(emulator: Emulator) -> Starlette:
    """The ASGI application of an emulator, which it closes at the end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        emulator.close()

    most_body_bytes = emulator.options.most_body_bytes
    graphs = graph_api.EmulatedGraph(emulator).answer
    app = Starlette(
        routes=[
            *admin.routes(emulator),
            Route("/{tenant}/.well-known/openid-configuration", _discovery),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", _discovery),
            Route("/{tenant}/oauth2/v2.0/token", _token, methods=["POST"]),
            Route("/{tenant}/oauth2/token", _token, methods=["POST"]),
            Route(
                f"{GRAPH_PATH}/{{path:path}}",
                Service(graph_api.ROOT, graphs, most_body_bytes),
            ),
            Route("/{path:path}", Service(ROOT, emulator.answer, most_body_bytes)),
        ],
        lifespan=lifespan,
    )
    app.state.emulator = emulator
    return app


class Service:
    """Everything below one root; what lies elsewhere is not found."""

    def __init__(
        self, root: re.Pattern[str], answer: Answering, most_body_bytes: int
    ) -> None:
        self._root = root
        self._answer = answer
        self._most_body_bytes = most_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or close its connection."""
        request = HttpRequest(scope, receive)
        if not self._root.match(scope["path"]):
            await _elsewhere(scope["path"])(scope, receive, send)
            return
        try:
            arrival = await _arrival(request, self._most_body_bytes)
            response, headers = await self._answer(arrival)
        except Dropped:
            await _drop(receive)
            return
        except ClientDisconnect:
            return
        content_length = ("Content-Length", str(len(response.body)))
        if response.status not in {204, 304}:
            headers.append(content_length)
        raw = [(n.encode(), v.encode("latin-1", "replace")) for n, v in headers]
        await send(
            {"type": "http.response.start", "status": response.status, "headers": raw}
        )
        await send({"type": "http.response.body", "body": response.body})


def _elsewhere(path: str) -> HttpResponse:
    """Other versions of the Web API, SOAP and discovery are there on the service."""
    if not path.lower().startswith(("/api/", "/xrmservices/")):
        return HttpResponse(status_code=404)
    answer = wire.error_response(
        web_api_errors.not_emulated(f"the address {path[:100]}."), ""
    )
    headers = {"OData-Version": "4.0", **answer.headers}
    return HttpResponse(answer.body, answer.status, headers)


async def _arrival(request: HttpRequest, most_bytes: int) -> Arrival:
    pieces: list[bytes] = []
    length = 0
    async for piece in request.stream():
        length += len(piece)
        if length <= most_bytes:
            pieces.append(piece)
    path = request.scope["path"]
    raw_path = request.scope.get("raw_path", path.encode()).decode("ascii", "replace")
    return Arrival(
        origin=_origin(request),
        method=request.method,
        path=path,
        raw_path=raw_path.partition("?")[0],
        query=request.scope["query_string"].decode("latin-1"),
        headers=_headers(request.scope["headers"]),
        body=b"".join(pieces),
        too_long=length > most_bytes,
    )


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Names in lower case; several lines of one header are one list (RFC 9110)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        found[name] = f"{found[name]}{separator}{value}" if name in found else value
    return found


async def _discovery(request: HttpRequest) -> HttpResponse:
    emulator: Emulator = request.app.state.emulator
    entry = Entry(emulator.clock.now(), "GET", request.url.path)
    struck = await _struck(request, entry)
    if struck is not None:
        return struck
    try:
        document = emulator.identity.discovery(
            _origin(request), request.path_params["tenant"]
        )
    except TokenError as error:
        entry.status, entry.code = error.status, f"AADSTS{error.number}"
        emulator.log.add(entry)
        return JSONResponse(error.body(emulator.clock), error.status)
    return JSONResponse(document)


async def _token(request: HttpRequest) -> HttpResponse:
    version = 2 if "/v2.0/" in request.url.path else 1
    emulator: Emulator = request.app.state.emulator
    entry = emulator.log.add(Entry(emulator.clock.now(), "POST", request.url.path))
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
    form |= basic_credentials(request.headers.get("authorization", ""))
    struck = await _struck(request, entry)
    if struck is not None:
        return struck
    try:
        granted = emulator.identity.grant(
            _origin(request), request.path_params["tenant"], form, version=version
        )
    except TokenError as error:
        entry.status, entry.code = error.status, f"AADSTS{error.number}"
        return JSONResponse(error.body(emulator.clock), error.status)
    entry.status = 200
    return JSONResponse(granted, headers={"Cache-Control": "no-store"})


async def _struck(request: HttpRequest, entry: Entry) -> HttpResponse | None:
    """What a fault answers in place of the identity provider, if one strikes."""
    emulator: Emulator = request.app.state.emulator
    fault = emulator.faults.pick(entry.method, entry.path)
    if fault is None:
        return None
    entry.fault, entry.status = fault.kind, fault.status
    if fault.delay:
        await emulator.clock.sleep(fault.delay)
    if fault.kind == "slow":
        return None
    if fault.kind in {"drop_before", "drop_after"}:
        entry.status = 0
        await _drop(request.receive)
    headers = dict(fault.error().headers)
    return HttpResponse(fault.page("Gateway error"), fault.status, headers)


def _origin(request: HttpRequest) -> str:
    return f"https://{request.headers.get('host', 'localhost')}"


async def _drop(receive: Receive) -> None:
    """Close the connection as a failing network would, without an answer.

    ASGI has no way to say this, so uvicorn's request cycle, which `receive` is bound
    to, is asked for its transport.
    """
    cycle = getattr(receive, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise RuntimeError("this server cannot drop connections; use uvicorn")
    transport.abort()
    # The loop tells the cycle in its next turns; before that uvicorn would answer 500.
    for _ in range(_TURNS_TO_DISCONNECT):
        await asyncio.sleep(0)
