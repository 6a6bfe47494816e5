"""Serves the panel until a signal ends it."""

import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from apex_pipeline.errors import ApexError
from apex_pipeline.settings import PanelSettings

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5
_BACKLOG = 2048
_MOST_CONNECTIONS = 1000
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


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server that tells nobody what it is, and believes no header about the client."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # Else any process of this machine could claim another's address.
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


def serve(
    app: ASGIApp, listener: socket.socket, *, listening: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM, and end what is under way in order."""
    wishes = (signal.SIGINT, signal.SIGTERM)
    # uvicorn takes the signals, ends, and raises them again for whoever had them before.
    before = {number: signal.signal(number, _noted) for number in wishes}
    try:
        with listener:
            listening()
            make_server(app).run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noted(number: int, frame: FrameType | None) -> None:
    del frame
    logger.info("ended by %s", signal.Signals(number).name)
