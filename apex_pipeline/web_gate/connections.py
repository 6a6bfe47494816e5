"""How much of the server one connection, and one address, may use."""

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""A request's whole head has to arrive within this time."""

HEAD_BYTES = 64 * 1024
"""A request's head must not be longer."""

MOST_OF_ONE_ADDRESS = 100
MOST_CONNECTIONS = 1000


class BoundedConnection(H11Protocol):
    """A connection that ends when its head is late, or when its place is needed.

    Whoever keeps connections open without asking anything costs other clients nothing:
    at a bound, the connection that has been without a request longest is closed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._late: asyncio.TimerHandle | None = None
        self.waits_since = 0.0

    # asyncio calls it with a transport that can write, as uvicorn's class says too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection if there is room, and wait for its first head."""
        super().connection_made(transport)
        if self._has_room():
            self._await_head()
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun must end in time."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.is_idle():
            self._await_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer."""
        self._forget_head()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.conn.their_state is h11.IDLE

    def _has_room(self) -> bool:
        others = [
            cast("BoundedConnection", each)
            for each in self.connections
            if each is not self and not each.transport.is_closing()
        ]
        same = [each for each in others if each.address == self.address]
        return _make_room(same, MOST_OF_ONE_ADDRESS) and _make_room(
            others, MOST_CONNECTIONS
        )

    @property
    def address(self) -> str | None:
        """Who is at the other end; None where the system does not say."""
        return self.client[0] if self.client else None

    def _await_head(self) -> None:
        if self._late is None:
            self.waits_since = self.loop.time()
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _make_room(connections: list[BoundedConnection], most: int) -> bool:
    """Whether one more may come, if need be in place of one that asks nothing."""
    if len(connections) < most:
        return True
    idle = [each for each in connections if each.is_idle()]
    if not idle:
        return False
    min(idle, key=lambda each: each.waits_since).transport.abort()
    return True
