"""Signing in and out, for people: the token once, then a cookie."""

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
    """The form and what it does; there is none where no token is needed.

    Attributes:
        form_page: Renders the form as HTML; told whether the last token was wrong.
    """

    sessions: Sessions | None
    attempts: Buckets
    form_page: Callable[[bool], bytes]

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(SIGN_IN, self.form),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route(SIGN_OUT, self.sign_out, methods=["POST"]),
        ]

    def is_signed_in(self, request: Request) -> bool:
        """Whether it was a cookie that let this request in."""
        return self.sessions is not None and self.sessions.is_open(
            session_cookie(request.headers)
        )

    async def form(self, request: Request) -> Response:
        """Ask for the token, unless there is nothing to ask for."""
        if self.sessions is None or self.is_signed_in(request):
            return RedirectResponse("/", 303, _NO_STORE)
        return self._form()

    async def sign_in(self, request: Request) -> Response:
        """Give a cookie for the token."""
        wait = self.attempts.take(client_key(request.scope))
        if wait:
            return too_many(wait)
        given = _token(await request.body())
        if self.sessions is None or not self.sessions.is_token(given):
            return self._form(401, is_wrong=True)
        answer = RedirectResponse("/", 303, _NO_STORE)
        answer.set_cookie(
            COOKIE,
            self.sessions.begin(),
            max_age=LIFETIME_SECONDS,
            secure=_is_encrypted(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session, here and in the browser."""
        if self.sessions is not None:
            self.sessions.end(session_cookie(request.headers))
        answer = RedirectResponse(SIGN_IN, 303, _NO_STORE)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _form(self, status: int = 200, *, is_wrong: bool = False) -> Response:
        return Response(
            self.form_page(is_wrong), status, _NO_STORE, "text/html; charset=utf-8"
        )


def _token(body: bytes) -> str:
    """What was typed into the form; nothing where something else was sent."""
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=10)
    except ValueError:
        return ""
    return fields.get("token", [""])[0].strip()


def _is_encrypted(request: Request) -> bool:
    """Whether the browser came over https, if need be by way of a proxy.

    Browsers name the origin of each form that they send; a proxy's headers about it
    could be anybody's.
    """
    return request.headers.get("origin", "").startswith("https://")
