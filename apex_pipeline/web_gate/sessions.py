"""Check the token of programs and the session cookie of browsers."""

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from apex_pipeline.web_gate.ended_sessions import EndedSessions

LIFETIME_SECONDS = 12 * 3600
"""How long a session lasts."""

_PURPOSE = b"apex panel session"


class Sessions:
    """Checks tokens and cookies; it stores only which sessions were ended.

    A cookie is `expiry.number.signature`. The key is derived from the token, so a new
    token ends all sessions, and a restart ends none.
    """

    def __init__(
        self,
        token: str,
        now: Callable[[], float] = time.time,
        *,
        also: str | None = None,
        ended: Path | None = None,
    ) -> None:
        """Keep the token that gives access.

        Args:
            token: The token of people and programs.
            now: The time of day, in seconds.
            also: A second token for programs.
            ended: File of ended sessions that processes share; None to note them here
                alone, until a restart.
        """
        self._token = token.encode()
        self._also = also.encode() if also else None
        self._key = hmac.digest(self._token, _PURPOSE, sha256)
        self._now = now
        self._ended = EndedSessions(ended, now)

    def is_token(self, text: str) -> bool:
        """Whether this is the token, compared in constant time."""
        given = text.encode()
        is_second = self._also is not None and hmac.compare_digest(given, self._also)
        return hmac.compare_digest(given, self._token) or is_second

    def begin(self) -> str:
        """Start a session, and return its cookie's value."""
        expiry = int(self._now()) + LIFETIME_SECONDS
        claim = f"{expiry}.{secrets.token_urlsafe(12)}"
        return f"{claim}.{self._signature(claim)}"

    def is_open(self, cookie: str) -> bool:
        """Whether this is one of our cookies, neither expired nor ended."""
        claim, _, signature = cookie.rpartition(".")
        expected = self._signature(claim)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return False
        return float(claim.partition(".")[0]) > self._now() and claim not in self._ended

    def end(self, cookie: str) -> None:
        """End a session, in every process that shares the file of ended ones."""
        if self.is_open(cookie):
            self._ended.add(cookie.rpartition(".")[0])

    def _signature(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), sha256).hexdigest()
