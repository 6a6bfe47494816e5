"""Sockets that listen: opened here, or inherited from the process that chose the port."""

import socket

BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """Listen; from here on, clients that connect are served or wait.

    Raises:
        OSError: The port is in use, or the host is not an address of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    )[0]
    # With the protocol named, asyncio sends small answers without delay.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def inherited_listener(descriptor: int) -> socket.socket:
    """The socket that the parent process left listening for this one."""
    listener = socket.socket(proto=socket.IPPROTO_TCP, fileno=descriptor)
    listener.set_inheritable(False)
    return listener
