"""Answers in bounded memory and time, from any server.

No service answers us here with more than some kilobytes. A gateway could answer without
end, a byte a second, or with a small file that unpacks to gigabytes.
"""

import time
from collections.abc import Callable, Iterator
from typing import cast

import httpx

MOST_BYTES = 4 * 1024 * 1024
MOST_SECONDS = 30.0
_PLAIN = {"", "identity"}


class BoundedAnswers(httpx.BaseTransport):
    """Asks for answers that are not compressed, and breaks off those without an end."""

    def __init__(
        self,
        transport: httpx.BaseTransport,
        *,
        most_bytes: int = MOST_BYTES,
        most_seconds: float = MOST_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wrap a transport, which is closed with this one."""
        self._transport = transport
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._now = now

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            DecodingError: The answer is compressed all the same, or too large.
            ReadTimeout: It takes too long as a whole.
        """
        request.headers["Accept-Encoding"] = "identity"
        deadline = self._now() + self._most_seconds
        found = self._transport.handle_request(request)
        if found.headers.get("Content-Encoding", "").strip().lower() not in _PLAIN:
            found.close()
            raise httpx.DecodingError("the answer is compressed", request=request)
        stream = cast("httpx.SyncByteStream", found.stream)
        found.stream = _Stream(stream, self._pieces(stream, request, deadline))
        return found

    def _pieces(
        self, stream: httpx.SyncByteStream, request: httpx.Request, deadline: float
    ) -> Iterator[bytes]:
        left = self._most_bytes
        for piece in stream:
            left -= len(piece)
            if left < 0:
                raise httpx.DecodingError("the answer is too large", request=request)
            if self._now() > deadline:
                raise httpx.ReadTimeout("the answer does not end", request=request)
            yield piece

    def close(self) -> None:
        self._transport.close()


class _Stream(httpx.SyncByteStream):
    """The pieces of a stream that somebody watches."""

    def __init__(self, stream: httpx.SyncByteStream, pieces: Iterator[bytes]) -> None:
        self._stream = stream
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        self._stream.close()
