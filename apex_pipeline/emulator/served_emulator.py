"""Serves an emulator over HTTPS: in this process until a signal, or in a thread."""

import asyncio
import json
import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPSConnection
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import uvicorn

from apex_pipeline.emulator.certificates import ServerCertificate, make_certificate
from apex_pipeline.emulator.clock import Clock
from apex_pipeline.emulator.http_surface import make_app
from apex_pipeline.emulator.instance import Emulator, Options

_START_SECONDS = 30
_STOP_SECONDS = 2
_LAST_BYTES_SECONDS = 0.05
_CONTROL_SECONDS = 60
_KEEP_ALIVE_SECONDS = 120


class EmulatorServer(uvicorn.Server):
    """A uvicorn server that says when it listens, and ends quietly on a signal."""

    def __init__(
        self, config: uvicorn.Config, listening: Callable[[int], None]
    ) -> None:
        """Serve; `listening` is called with the port."""
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        if self.started:
            self._listening(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End without waiting for idle clients to answer TLS's goodbye."""
        hanging_up = asyncio.create_task(self._hang_up())
        await super().shutdown(sockets)
        hanging_up.cancel()

    async def _hang_up(self) -> None:
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        await asyncio.sleep(_LAST_BYTES_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as the wish to end, not to die of them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.should_exit = True

        wishes = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, stop) for number in wishes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(
    emulator: Emulator,
    certificate: ServerCertificate,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    listening: Callable[[int], None],
) -> EmulatorServer:
    """A server for an emulator; `run()` serves until the end."""
    config = uvicorn.Config(
        make_app(emulator),
        host=host,
        port=port,
        ssl_certfile=certificate.certificate,
        ssl_keyfile=certificate.key,
        # The other implementation writes header names in lower case, and the service
        # does not: clients that compare them letter by letter exist.
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        backlog=2048,
    )
    return EmulatorServer(config, listening)


class ServedEmulator:
    """A running emulator, as a test sees it.

    A context manager, which ends the connection over which it is controlled.

    Attributes:
        url: Environment URL, which is also the authority host.
        ca_bundle: PEM file to trust.
        tenant_id: The tenant.
        client_id: An application with an application user.
        client_secret: Its secret.
        control_secret: Bearer token of `/_emulator/…`.
    """

    def __init__(self, url: str, ca_bundle: Path, options: Options) -> None:
        """Describe an emulator that listens at a URL."""
        self.url = url
        self.ca_bundle = ca_bundle
        self.tenant_id = options.tenant_id
        self.client_id = options.client_id
        self.client_secret = options.client_secret or ""
        self.control_secret = options.control_secret
        place = urlsplit(url)
        self._control = HTTPSConnection(
            place.hostname or "",
            place.port,
            timeout=_CONTROL_SECONDS,
            context=ssl.create_default_context(cafile=str(ca_bundle)),
        )
        self._one_at_a_time = threading.Lock()
        self._kept_until = 0.0

    def __enter__(self) -> Self:
        """Nothing is opened before the first request."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the connection."""
        self._control.close()

    @property
    def authority_host(self) -> str:
        """Where tokens come from; the authority is this with the tenant appended."""
        return self.url

    @property
    def authority(self) -> str:
        """The authority, for MSAL."""
        return f"{self.url}/{self.tenant_id}"

    @property
    def api(self) -> str:
        """Root of the Web API."""
        return f"{self.url}/api/data/v9.2"

    def records(self, table: str = "apex_campaignmetrics") -> list[dict[str, Any]]:
        """All records of a table; decimals keep their digits."""
        text = self._ask("GET", f"records/{table}")
        found: list[dict[str, Any]] = json.loads(text, parse_float=Decimal)
        return found

    def mail(self) -> list[dict[str, Any]]:
        """Messages that Graph was given: application, mailbox, and mime as text."""
        return list(json.loads(self._ask("GET", "mail")))

    def requests(self) -> list[dict[str, Any]]:
        """The request log, oldest first."""
        return list(json.loads(self._ask("GET", "requests")))

    def clear_requests(self) -> None:
        """Empty the request log."""
        self._ask("DELETE", "requests")

    def fault(self, kind: str = "status", **more: object) -> None:
        """Add a fault; see `faults.Fault` for what can be said about it."""
        self._ask("POST", "faults", {"kind": kind, **more})

    def clear_faults(self) -> None:
        """Take all faults away."""
        self._ask("DELETE", "faults")

    def set_limits(self, **limits: float) -> None:
        """Change service protection limits and start new windows."""
        self._ask("POST", "limits", limits)

    def register(self, client_id: str, **more: object) -> None:
        """Register an application: client_secret, certificate, user, denied, graph."""
        self._ask("POST", "applications", {"client_id": client_id, **more})

    def snapshot(self, name: str = "snapshot") -> None:
        """Keep everything stored under a name, until the emulator ends."""
        self._ask("POST", "snapshot", {"name": name})

    def restore(self, name: str = "snapshot") -> None:
        """Go back to a snapshot."""
        self._ask("POST", "restore", {"name": name})

    def reset(self) -> None:
        """Back to the start."""
        self._ask("POST", "reset")

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        with self._one_at_a_time:
            if time.monotonic() > self._kept_until:
                # The server may be about to close it. The request opens it again.
                self._control.close()
            # Of an exchange that fails, nothing is kept.
            self._kept_until = 0.0
            self._control.request(
                method,
                f"/_emulator/{path}",
                None if body is None else json.dumps(body),
                {"Authorization": f"Bearer {self.control_secret}"},
            )
            answer = self._control.getresponse()
            said = answer.read()
            self._kept_until = time.monotonic() + _KEEP_ALIVE_SECONDS / 2
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status} {said.decode()}")
        return said


@contextmanager
def serve(
    options: Options | None = None,
    *,
    clock: Clock | None = None,
    port: int = 0,
    folder: Path | None = None,
) -> Iterator[ServedEmulator]:
    """Serve an emulator in a thread of this process while the block runs.

    Args:
        options: How it is to be; by default in memory, with a secret of its own.
        clock: Time, for tests that set it.
        port: Where to listen on the loopback; 0 for any free port.
        folder: Where certificates go; by default a temporary folder.
    """
    options = options or Options("emulator-secret")
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        certificate = make_certificate(place, "localhost")
        started: Future[int] = Future()
        server = make_server(
            Emulator(options, clock),
            certificate,
            port=port,
            listening=started.set_result,
        )
        with _running(server, started):
            url = f"https://localhost:{started.result(_START_SECONDS)}"
            with ServedEmulator(url, place / "ca.pem", options) as emulator:
                yield emulator


@contextmanager
def _running(server: EmulatorServer, started: Future[int]) -> Iterator[None]:
    """The server in a thread; one that ends before it listens says so at once."""

    def run() -> None:
        try:
            asyncio.run(server.serve())
        finally:
            if not started.done():
                started.set_exception(RuntimeError("the emulator did not start"))

    thread = threading.Thread(target=run, name="dataverse-emulator")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
