"""What every request passes: limits, and whether its sender may do what it asks."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
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
    """An answer in the shape of every failure of the API."""
    body = json.dumps({"ok": False, "error": code, "message": message}, allow_nan=False)
    every = {"Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, every, "application/json")


class SecurityHeaders:
    """Adds headers that keep a browser from being used against its user."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, told)


class RateLimit:
    """Lets a client through as often as its bucket has a token."""

    def __init__(self, app: ASGIApp, buckets: Buckets) -> None:
        self._app = app
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say when to ask again."""
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(client_key(scope))
        if wait:
            await too_many(wait)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Bounds:
    """Ends requests that are too large, and those that take too long to be answered."""

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
        """Answer, or say what was too much."""
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

        async def told(message: Message) -> None:
            nonlocal is_started
            is_started = True
            # What is being sent takes as long as the client takes to read it.
            limit.reschedule(None)
            await send(message)

        try:
            self._weigh(scope)
            async with asyncio.timeout(self._seconds) as limit:
                await self._app(scope, bounded, told)
        except _TooLargeError:
            answer = refusal(
                413, "too_large", f"A request may hold {self._body_bytes} bytes."
            )
        except TimeoutError:
            if is_started:
                raise
            answer = refusal(
                503, "timed_out", f"There was no answer within {self._seconds:g} s."
            )
        else:
            return
        await answer(scope, receive, send)

    def _weigh(self, scope: Scope) -> None:
        """Refuse at once what says itself that it is too large."""
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self._body_bytes:
            raise _TooLargeError


class _TooLargeError(Exception):
    """The request's body is larger than what is taken."""


class Gatekeeper:
    """Lets in requests that show the token or a session, and keeps other sites out.

    Without a token it serves this machine only. Any site's page can make a browser on
    this machine send requests. So it refuses a host name that is not this machine's,
    because that name was made to point here, and every change that another site's page
    asks for. A WebSocket counts as a change: browsers let any page open one.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: PanelSettings,
        sessions: Sessions | None,
        *,
        is_private: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: The application.
            settings: Where it listens.
            sessions: Tokens and cookies that open it; None for this machine only.
            is_private: Whether another site's page must not even read this path.
        """
        self._app = app
        self._host = settings.host
        self._sessions = sessions
        self._is_private = is_private

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not."""
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
                421, "unknown_host", "Without a token this answers to localhost only."
            )
        if (is_change or self._is_private(scope["path"])) and _is_foreign(headers):
            return refusal(403, "other_site", "Another site's page may not do this.")
        if self._sessions is None or _is_open(scope["path"]):
            return None
        if _has_token(headers, self._sessions):
            return None
        if not self._sessions.is_open(session_cookie(headers)):
            is_page = scope["path"] == "/" or _wants_page(headers)
            return _turned_away(is_person=is_page and not is_change)
        # A browser says where a change comes from. What does not say so is not the
        # browser that the session was opened in.
        return _without_origin() if is_change and "origin" not in headers else None

    def _is_this_machine(self, headers: Headers) -> bool:
        try:
            name = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            return False
        return name is not None and (is_loopback(name) or name == self._host)


def client_key(scope: Scope) -> str:
    """Who asks; what a header says of it can be made up by anyone."""
    client = scope.get("client")
    return client_of(client[0] if client else None)


def too_many(wait: float) -> Response:
    """The answer to a client that asks too often."""
    seconds = max(1, math.ceil(wait))
    return refusal(
        429,
        "too_many_requests",
        f"Ask again in {seconds} s.",
        {"Retry-After": str(seconds)},
    )


def session_cookie(headers: Headers) -> str:
    """The value of our cookie; empty if none was sent."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _has_token(headers: Headers, sessions: Sessions) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and sessions.is_token(token.strip())


def _turned_away(*, is_person: bool) -> Response:
    if is_person:
        return RedirectResponse(SIGN_IN, 303, {"Cache-Control": "no-store"})
    return refusal(
        401,
        "not_signed_in",
        "Send the token: Authorization: Bearer APEX_PANEL_TOKEN.",
        {"WWW-Authenticate": 'Bearer realm="apex panel"'},
    )


def _wants_page(headers: Headers) -> bool:
    """Whether a browser wants to show the answer to a person."""
    return "text/html" in headers.get("accept", "")


def _without_origin() -> Response:
    return refusal(403, "other_site", "A change needs the header Origin.")


def _is_open(path: str) -> bool:
    """What is served to everybody: it tells nothing, or is for signing in and out."""
    return path in {HEALTH, SIGN_IN, SIGN_OUT} or path.startswith("/static/")


def _is_foreign(headers: Headers) -> bool:
    """Whether a page of another site made the browser send this."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")
