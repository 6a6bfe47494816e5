"""Sign people in and out: the token once, then a cookie."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from apex_pipeline.web_gate.gatekeeping import (
    COOKIE,
    SIGN_IN,
    SIGN_OUT,
    client_key,
    session_cookie,
    too_many,
)
from apex_pipeline.web_gate.rate_limit import Buckets
from apex_pipeline.web_gate.sessions import LIFETIME_SECONDS, Sessions

_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class SignIn:
    """The sign-in form and its handlers; unused if no token is set.

    Attributes:
        form_page: Renders the form as HTML; the argument is whether the last token was
            wrong.
        root: The path under which a reverse proxy publishes the application.
        is_framed: Whether pages of other sites may show it in a frame.
    """

    sessions: Sessions | None
    attempts: Buckets
    form_page: Callable[[bool], bytes]
    root: str = ""
    is_framed: bool = False

    def routes(self) -> list[Route]:
        return [
            Route(SIGN_IN, self.form),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route(SIGN_OUT, self.sign_out, methods=["POST"]),
        ]

    def is_signed_in(self, request: Request) -> bool:
        """Whether this request has an open session."""
        return self.sessions is not None and self.sessions.is_open(
            session_cookie(request.headers)
        )

    async def form(self, request: Request) -> Response:
        """Ask for the token, unless none is needed or a session is open."""
        if self.sessions is None or self.is_signed_in(request):
            return RedirectResponse(f"{self.root}/", 303, _NO_STORE)
        return self._form()

    async def sign_in(self, request: Request) -> Response:
        """Set a session cookie in exchange for the token."""
        wait = self.attempts.take(client_key(request.scope))
        if wait:
            return too_many(wait)
        given = _token(await request.body())
        if self.sessions is None or not self.sessions.is_token(given):
            return self._form(401, is_wrong=True)
        answer = RedirectResponse(f"{self.root}/", 303, _NO_STORE)
        self._set_cookie(answer, request, self.sessions.begin(), LIFETIME_SECONDS)
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session, here and in the browser."""
        if self.sessions is not None:
            self.sessions.end(session_cookie(request.headers))
        answer = RedirectResponse(f"{self.root}{SIGN_IN}", 303, _NO_STORE)
        self._set_cookie(answer, request, "", 0)
        return answer

    def _set_cookie(
        self, answer: Response, request: Request, text: str, seconds: int
    ) -> None:
        """Set the session's cookie; with no seconds, the browser removes the one it has."""
        is_encrypted = _is_encrypted(request)
        # Within another site's frame, browsers send a cookie only if it is marked for that,
        # and accept the mark over https alone.
        is_for_frames = self.is_framed and is_encrypted
        answer.set_cookie(
            COOKIE,
            text,
            max_age=seconds,
            expires=None if seconds else 0,
            path=self.root or "/",
            secure=is_encrypted,
            httponly=True,
            samesite="none" if is_for_frames else "strict",
        )
        if is_for_frames:
            # A jar for each site that shows the frame; browsers that block the cookies of
            # third parties allow this one. Python knows the attribute from 3.14 on.
            answer.headers["set-cookie"] += "; Partitioned"

    def _form(self, status: int = 200, *, is_wrong: bool = False) -> Response:
        return Response(
            self.form_page(is_wrong), status, _NO_STORE, "text/html; charset=utf-8"
        )


def _token(body: bytes) -> str:
    """The token from the form; empty if the body is not that form."""
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return fields.get("token", [""])[0].strip()


def _is_encrypted(request: Request) -> bool:
    """Whether the browser used https, perhaps through a proxy.

    Browsers name the origin of each form that they send; a proxy's headers could be
    forged.
    """
    return request.headers.get("origin", "").startswith("https://")
