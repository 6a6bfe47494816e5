"""Serve an application behind the gate until a signal stops it."""

import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from apex_pipeline.errors import ApexError
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate.connections import (
    HEAD_BYTES,
    MOST_CONNECTIONS,
    BoundedConnection,
)

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5
_BACKLOG = 2048
# A viewer who polls every ten seconds need not connect each time.
_KEEP_ALIVE_SECONDS = 25


def listen(settings: PanelSettings) -> socket.socket:
    """Listen on the configured port.

    Raises:
        ApexError: The port is in use, or the host is not an address of this machine.
    """
    try:
        return _listener(settings)
    except OSError as error:
        raise ApexError(
            f"The panel cannot listen on {settings.host}, port {settings.port}: "
            f"{error.strerror}. Choose others with --host and --port, or "
            "APEX_PANEL_HOST and APEX_PANEL_PORT."
        ) from error


def _listener(settings: PanelSettings) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM
    )[0]
    # With the protocol named, asyncio sends small answers without delay.
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # From here on, clients that connect are served or wait, and are not refused.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def make_server(
    app: ASGIApp, *, ws: Literal["none", "websockets-sansio"] = "none"
) -> uvicorn.Server:
    """A server that does not name its software and ignores headers about the client."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            http=BoundedConnection,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ws=ws,
            log_config=None,
            access_log=False,
            server_header=False,
            # Otherwise any local process could claim another address.
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    listening: Callable[[], None],
    ws: Literal["none", "websockets-sansio"] = "none",
) -> None:
    """Serve until SIGINT or SIGTERM, then finish running requests."""
    wishes = (signal.SIGINT, signal.SIGTERM)
    # uvicorn handles the signals, stops, and raises them again for earlier handlers.
    before = {number: signal.signal(number, _noted) for number in wishes}
    try:
        with listener:
            listening()
            make_server(app, ws=ws).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noted(number: int, frame: FrameType | None) -> None:
    del frame
    logger.info("stopped by %s", signal.Signals(number).name)
