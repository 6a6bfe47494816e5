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
from apex_pipeline.web_gate.connections import MOST_CONNECTIONS, BoundedConnection
from apex_pipeline.web_gate.listener import (
    BACKLOG,
    inherited_listener,
    open_listener,
)
from apex_pipeline.web_gate.request_ids import RequestIds

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5
# A viewer who polls every ten seconds need not connect each time.
_KEEP_ALIVE_SECONDS = 25


def listen(settings: PanelSettings, descriptor: int | None = None) -> socket.socket:
    """Listen on the configured port.

    Args:
        settings: Host and port.
        descriptor: A socket of the parent process that listens there already.

    Raises:
        ApexError: The port is in use, or the host is not an address of this machine.
    """
    if descriptor is not None:
        return inherited_listener(descriptor)
    try:
        return open_listener(settings.host, settings.port)
    except OSError as error:
        raise ApexError(
            f"The panel cannot listen on {settings.host}, port {settings.port}: "
            f"{error.strerror}. Choose others with --host and --port, or "
            "APEX_PANEL_HOST and APEX_PANEL_PORT."
        ) from error


def make_server(
    app: ASGIApp, *, ws: Literal["none", "websockets-sansio"] = "none"
) -> uvicorn.Server:
    """A server that does not name its software and ignores headers about the client."""
    return uvicorn.Server(
        uvicorn.Config(
            RequestIds(app),
            lifespan="on",
            http=BoundedConnection,
            ws=ws,
            log_config=None,
            access_log=False,
            server_header=False,
            # Otherwise any local process could claim another address.
            proxy_headers=False,
            backlog=BACKLOG,
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
