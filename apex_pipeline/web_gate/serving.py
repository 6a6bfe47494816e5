"""Serves an application behind the gate until a signal ends it."""

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
# A viewer who asks every ten seconds need not connect each time.
_KEEP_ALIVE_SECONDS = 25


def listen(settings: PanelSettings) -> socket.socket:
    """Take the port.

    Raises:
        ApexError: Somebody else has it, or the host is no address of this machine.
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
        # From here on, who connects is served, or waits for it and is not refused.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def make_server(
    app: ASGIApp, *, ws: Literal["none", "websockets-sansio"] = "none"
) -> uvicorn.Server:
    """A server that does not name itself, and ignores headers about the client."""
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
            # Else any process of this machine could claim another's address.
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
    """Serve until SIGINT or SIGTERM, then finish what is under way."""
    wishes = (signal.SIGINT, signal.SIGTERM)
    # uvicorn takes the signals, ends, and raises them again for whoever had them before.
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
    logger.info("ended by %s", signal.Signals(number).name)
