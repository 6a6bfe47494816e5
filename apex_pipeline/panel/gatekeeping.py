"""What stands before the routes: headers, limits, and who may pass."""

import asyncio
import json
import math
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apex_pipeline.panel.rate_limit import Buckets, client_of
from apex_pipeline.panel.sessions import Sessions
from apex_pipeline.settings import PanelSettings, is_loopback

COOKIE = "apex_panel_session"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
HEALTH = "/healthz"

_MOST_BODY_BYTES = 1024 * 1024
_MOST_SECONDS = 30.0
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without a referrer at all a browser would hide the origin of the forms, too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def refusal(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    """An answer in the shape of every failure of the API."""
    body = json.dumps({"ok": False, "error": code, "message": message}, allow_nan=False)
    every = {"Cache-Control": "no-store", **(headers or {})}
    return Response(body, status, every, "application/json")


class SecurityHeaders:
    """Puts on each answer what keeps a browser from being used against its user."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the headers."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
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
    """Lets in who shows the token or a cookie, and keeps other sites' pages out.

    Without a token only this machine is served. A page of any site can make a browser
    here send requests, so a host name that is not this machine's is refused (it was
    made to point here), and so is what another site's page would change.
    """

    def __init__(
        self, app: ASGIApp, settings: PanelSettings, sessions: Sessions | None
    ) -> None:
        self._app = app
        self._host = settings.host
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
        else:
            await refused(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        is_change = scope["method"] not in _SAFE_METHODS
        if self._sessions is None and not self._is_this_machine(headers):
            return refusal(
                421, "unknown_host", "Without a token this answers to localhost alone."
            )
        if is_change and _is_foreign(headers):
            return refusal(403, "other_site", "Another site's page may not do this.")
        if self._sessions is None or _is_open(scope["path"]):
            return None
        if _has_token(headers, self._sessions):
            return None
        if not self._sessions.is_open(session_cookie(headers)):
            return _turned_away(is_person=scope["path"] == "/" and not is_change)
        # A browser says where a change comes from; what does not is no browser of the
        # person whom the cookie was given to.
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
