"""Middleware for every request: rate and size limits, access control, headers."""

import asyncio
import json
import math
from collections.abc import Callable, Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apex_pipeline.settings import PanelSettings, is_loopback
from apex_pipeline.web_gate.rate_limit import Buckets, client_of
from apex_pipeline.web_gate.sessions import Sessions

COOKIE = "apex_panel_session"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
HEALTH = "/healthz"

_MOST_BODY_BYTES = 1024 * 1024
_MOST_SECONDS = 30.0
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_GUARDED = {"http", "websocket"}


def refusal(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """An error answer in the shape that the whole API uses."""
    body = json.dumps({"ok": False, "error": code, "message": message}, allow_nan=False)
    every = {"Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, every, "application/json")


class SecurityHeaders:
    """Adds headers that protect a browser's user from other sites."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, with_headers)


class RateLimit:
    """Lets a client's request through while its bucket has a token."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with the time to retry."""
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(client_key(scope))
        if wait:
            await too_many(wait)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Bounds:
    """Refuses requests that are too large, and those that take too long."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes: int = _MOST_BODY_BYTES,
        seconds: float = _MOST_SECONDS,
    ) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = self._body_bytes
        is_started = False

        async def bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        async def unlimited(message: Message) -> None:
            nonlocal is_started
            is_started = True
            # Sending may take as long as the client takes to read.
            limit.reschedule(None)
            await send(message)

        try:
            self._weigh(scope)
            async with asyncio.timeout(self._seconds) as limit:
                await self._app(scope, bounded, unlimited)
        except _TooLargeError:
            answer = refusal(
                413,
                "too_large",
                f"A request may have at most {self._body_bytes} bytes.",
            )
        except TimeoutError:
            if is_started:
                raise
            answer = refusal(
                503, "timed_out", f"The request timed out after {self._seconds:g} s."
            )
        else:
            return
        await answer(scope, receive, send)

    def _weigh(self, scope: Scope) -> None:
        """Refuse a request at once if its declared length is too large."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self._body_bytes:
            raise _TooLargeError


class _TooLargeError(Exception):
    """The request's body exceeds the limit."""


class Gatekeeper:
    """Admits requests with the token or a session, and keeps other sites out.

    Without a token, it serves this machine only. Any site's page can make a browser on
    this machine send requests. So it refuses every host name that is not this machine's,
    because such a name was made to point here. It also refuses every change requested by
    another site's page. A WebSocket counts as a change: any page can open one.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: PanelSettings,
        sessions: Sessions | None,
        *,
        is_private: Callable[[str], bool] = lambda _: False,
        readers: Collection[str] = (),
        root: str = "",
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            settings: The address that it listens on.
            sessions: Checks tokens and cookies; None to serve this machine only.
            is_private: Whether another site's page must not even request a path.
            readers: Origins whose pages may, all the same.
            root: The path under which a reverse proxy publishes the application.
        """
        self._app = app
        self._host = settings.host
        self._sessions = sessions
        self._is_private = is_private
        self._readers = readers
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with the reason."""
        refused = self._refusal(scope) if scope["type"] in _GUARDED else None
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            # Before the handshake is accepted, this answers 403.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refused(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        is_change = scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS
        if self._sessions is None and not self._is_this_machine(headers):
            return refusal(
                421, "unknown_host", "Without a token, only localhost is served."
            )
        is_kept = self._is_private(scope["path"]) and not self._is_reader(headers)
        if (is_change or is_kept) and _is_foreign(headers):
            return refusal(403, "other_site", "Another site's page may not do this.")
        if self._sessions is None or _is_open(scope["path"]):
            return None
        if _has_token(headers, self._sessions):
            return None
        if not self._sessions.is_open(session_cookie(headers)):
            is_page = scope["path"] == "/" or _wants_page(headers)
            is_person = is_page and not is_change
            return _turned_away(f"{self._root}{SIGN_IN}" if is_person else None)
        # A browser names the origin of a change. A client that does not is not the
        # browser in which the session was opened.
        return _without_origin() if is_change and "origin" not in headers else None

    def _is_reader(self, headers: Headers) -> bool:
        # A browser names the origin of what a page fetches, not of an image or a link.
        origin = headers.get("origin")
        return origin is not None and ("*" in self._readers or origin in self._readers)

    def _is_this_machine(self, headers: Headers) -> bool:
        try:
            name = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            return False
        return name is not None and (is_loopback(name) or name == self._host)


def client_key(scope: Scope) -> str:
    """Identify the client by its address; headers about it could be forged."""
    client = scope.get("client")
    return client_of(client[0] if client else None)


def too_many(wait: float) -> Response:
    """The answer to a client that sends too many requests."""
    seconds = max(1, math.ceil(wait))
    return refusal(
        429,
        "too_many_requests",
        f"Too many requests. Retry in {seconds} s.",
        {"Retry-After": str(seconds)},
    )


def session_cookie(headers: Headers) -> str:
    """The value of our cookie; empty if none was sent."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def credential_of(headers: Headers) -> str | None:
    """The bearer token or session that a request came with; None without one."""
    return _bearer_token(headers) or session_cookie(headers) or None


def _has_token(headers: Headers, sessions: Sessions) -> bool:
    token = _bearer_token(headers)
    return token is not None and sessions.is_token(token)


def _bearer_token(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _turned_away(form: str | None) -> Response:
    if form is not None:
        return RedirectResponse(form, 303, {"Cache-Control": "no-store"})
    return refusal(
        401,
        "not_signed_in",
        "Send the token in the header Authorization: Bearer APEX_PANEL_TOKEN.",
        {"WWW-Authenticate": 'Bearer realm="apex panel"'},
    )


def _wants_page(headers: Headers) -> bool:
    """Whether a browser requests a page to display."""
    return "text/html" in headers.get("accept", "")


def _without_origin() -> Response:
    return refusal(403, "other_site", "A change requires the header Origin.")


def _is_open(path: str) -> bool:
    """Whether a path is public: it reveals nothing, or is for signing in or out."""
    return path in {HEALTH, SIGN_IN, SIGN_OUT} or path.startswith("/static/")


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another site made the browser send this request."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
