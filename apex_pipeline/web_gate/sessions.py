"""Who may look: the token that programs show, and the cookie that people get for it."""

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256

LIFETIME_SECONDS = 12 * 3600
"""A person signs in once in so long."""

_MOST_ENDED = 10_000
_PURPOSE = b"apex panel session"


class Sessions:
    """Checks tokens and cookies. Nothing is kept of a session but that it was ended.

    A cookie is `expiry.number.signature`. The key is derived from the token, so a new
    token ends all sessions, and a restart none.
    """

    def __init__(
        self,
        token: str,
        now: Callable[[], float] = time.time,
        *,
        also: str | None = None,
    ) -> None:
        """Keep the token that opens everything.

        Args:
            token: What people and programs show.
            now: The time of day, in seconds.
            also: A second token that programs may show.
        """
        self._token = token.encode()
        self._also = also.encode() if also else None
        self._key = hmac.digest(self._token, _PURPOSE, sha256)
        self._now = now
        self._ended: dict[str, float] = {}

    def is_token(self, text: str) -> bool:
        """Whether this is the token, in a time that tells nothing about it."""
        given = text.encode()
        is_second = self._also is not None and hmac.compare_digest(given, self._also)
        return hmac.compare_digest(given, self._token) or is_second

    def begin(self) -> str:
        """The value of a new cookie."""
        expiry = int(self._now()) + LIFETIME_SECONDS
        claim = f"{expiry}.{secrets.token_urlsafe(12)}"
        return f"{claim}.{self._signature(claim)}"

    def is_open(self, cookie: str) -> bool:
        """Whether this is a cookie of ours, not over and not ended."""
        claim, _, signature = cookie.rpartition(".")
        expected = self._signature(claim)
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return False
        return float(claim.partition(".")[0]) > self._now() and claim not in self._ended

    def end(self, cookie: str) -> None:
        """Let a cookie open nothing any more, here at least until a restart."""
        if not self.is_open(cookie):
            return
        claim = cookie.rpartition(".")[0]
        now = self._now()
        self._ended = {one: at for one, at in self._ended.items() if at > now}
        if len(self._ended) >= _MOST_ENDED:
            del self._ended[min(self._ended, key=lambda one: self._ended[one])]
        self._ended[claim] = float(claim.partition(".")[0])

    def _signature(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), sha256).hexdigest()
