"""Ports that `apex up` occupies for its children, from their choice to its end.

Between the choice of a port and the moment when a child listens there lie seconds, and
after its death there lie some until the next one does. If the port were free then, a
second `apex up` would take it, or another user of the machine, to whom viewers would show
the panel's token. Meanwhile, clients wait.
"""

import errno
import socket
from typing import Self

from apex_pipeline.errors import ApexError
from apex_pipeline.web_gate.listener import open_listener

HOST = "127.0.0.1"


class HeldPorts:
    """Sockets that listen for children, whether these run or not.

    As a context manager, it closes them at the end.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._sockets:
            self._sockets.popitem()[1].close()

    def hold(self, host: str, port: int) -> bool:
        """Listen on a port.

        Returns:
            Whether that was possible: False if a program listens there.

        Raises:
            ApexError: This user cannot listen there, or not on this host.
        """
        try:
            listener = _listen(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ApexError(
                f"This user cannot listen on {host}, port {port}: {error.strerror}."
            ) from error
        self._sockets[listener.getsockname()[1]] = listener
        return True

    def hold_any(self, host: str) -> int:
        """Listen on a free port, and return its number."""
        before = set(self._sockets)
        self.hold(host, 0)
        [port] = self._sockets.keys() - before
        return port

    def release(self, port: int) -> None:
        """Leave a port to a child that opens it itself."""
        if held := self._sockets.pop(port, None):
            held.close()

    def hand_over(self, port: int) -> socket.socket:
        """A child's own handle of the socket that listens; the caller closes it."""
        return self._sockets[port].dup()


def _listen(host: str, port: int) -> socket.socket:
    if port:
        with socket.socket() as probe:
            # Outside Linux, you can bind a port that another process has on all
            # addresses.
            if probe.connect_ex((HOST, port)) == 0:
                raise OSError(errno.EADDRINUSE, "Address already in use")
    return open_listener(host, port)
