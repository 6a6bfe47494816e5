"""Limit the resources of one connection and one address."""

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""Time within which a request's whole head must arrive."""

HEAD_BYTES = 64 * 1024
"""Largest size of a request's head."""

MOST_OF_ONE_ADDRESS = 100
MOST_CONNECTIONS = 1000


class BoundedConnection(H11Protocol):
    """A connection that is closed when a head is late, or when its slot is needed.

    Idle connections do not block other clients: at the limit, the connection that has
    been idle for longest is closed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._late: asyncio.TimerHandle | None = None
        self.waits_since = 0.0

    # asyncio passes a transport that can write; uvicorn's class has the same type.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection if there is a free slot, and await its first head."""
        super().connection_made(transport)
        if self._has_room():
            self._await_head()
        else:
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Process data; a head that has started must end in time."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.is_idle():
            self._await_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer."""
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
        """The client's address; None if the system does not provide it."""
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
    """Whether one more connection fits, if necessary by closing an idle one."""
    if len(connections) < most:
        return True
    idle = [each for each in connections if each.is_idle()]
    if not idle:
        return False
    min(idle, key=lambda each: each.waits_since).transport.abort()
    return True
