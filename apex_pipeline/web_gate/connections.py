"""Limit the resources of one connection and one address."""

import asyncio
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_SECONDS = 10.0
"""Time within which a request's whole head must arrive."""

HEAD_BYTES = 64 * 1024
"""Largest size of a request's head."""

MOST_OF_ONE_ADDRESS = 100
MOST_CONNECTIONS = 1000


class UnambiguousRequests(h11.Connection):
    """Takes no request whose end a proxy before us may see elsewhere.

    With both a length and an encoding of the transfer, or with an encoding in HTTP/1.0,
    one of the two takes the body's rest for the next client's request (RFC 9112, section
    6.1). uvicorn answers 400 and closes.
    """

    def next_event(self) -> Any:
        """The next event, as h11 has it.

        Raises:
            RemoteProtocolError: The request is malformed or ambiguous.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name.lower() for name, _ in event.headers}
            if b"transfer-encoding" in names and (
                b"content-length" in names or event.http_version < b"1.1"
            ):
                raise h11.RemoteProtocolError("two lengths of one body")
        return event


class BoundedConnection(H11Protocol):
    """A connection that is closed when a head is late, or when its slot is needed.

    Idle connections do not block other clients: at the limit, the connection that has
    been idle for longest is closed.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn = UnambiguousRequests(h11.SERVER, HEAD_BYTES)
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

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Become a WebSocket; one that is not open in time is closed.

        uvicorn leaves a request unanswered that asks for an upgrade and is malformed.
        """
        try:
            super().handle_websocket_upgrade(event)
        finally:
            self.loop.call_later(HEAD_SECONDS, _end_unless_open, self.transport)

    def is_idle(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.conn.their_state is h11.IDLE

    def _has_room(self) -> bool:
        others = [
            cast("Connection", each)
            for each in self.connections
            if each is not self and not each.transport.is_closing()
        ]
        same = [each for each in others if _address(each) == _address(self)]
        return _make_room(same, MOST_OF_ONE_ADDRESS) and _make_room(
            others, MOST_CONNECTIONS
        )

    def _await_head(self) -> None:
        if self._late is None:
            self.waits_since = self.loop.time()
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


Connection = BoundedConnection | WebSocketsSansIOProtocol
"""What `serving.make_server` makes of a connection."""


def _address(connection: Connection) -> str | None:
    """The client's address; None if the system does not provide it."""
    return connection.client[0] if connection.client else None


def _end_unless_open(transport: asyncio.Transport) -> None:
    if not getattr(transport.get_protocol(), "handshake_complete", False):
        transport.abort()


def _make_room(connections: list[Connection], most: int) -> bool:
    """Whether one more connection fits, if necessary by closing an idle one.

    WebSockets are among them; they are never idle.
    """
    if len(connections) < most:
        return True
    idle = [
        each
        for each in connections
        if isinstance(each, BoundedConnection) and each.is_idle()
    ]
    if not idle:
        return False
    min(idle, key=lambda each: each.waits_since).transport.abort()
    return True
