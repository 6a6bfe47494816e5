"""What alerts are sent to in tests: a workflow behind HTTPS, and mail servers."""

import asyncio
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from apex_pipeline_tests.support.card_schema import faults
from apex_pipeline_tests.support.http_server import serving
from apex_pipeline_tests.support.waiting import SECONDS

SIGNATURE = "sentinel-signature"
USER = "apex@example.com"
PASSWORD = "sentinel/p@ss:word"


@dataclass
class Authority:
    """A private certificate authority, and a server certificate of it."""

    ca_bundle: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the receivers have their certificates from."""
    return make_authority(tmp_path_factory.mktemp("receivers"))


def make_authority(folder: Path) -> Authority:
    authority = trustme.CA()
    bundle = folder / "receivers.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Authority(bundle, context)


def is_of_a_new_deployment(title: str) -> bool:
    """Whether a notice tells of figures that cannot be right with rows of today alone.

    A check of them warns, and is resolved as soon as a rollup has made them.
    """
    return "The check" in title and ("Warning: " in title or "Resolved: " in title)


@dataclass
class Workflow:
    """A Teams-shaped endpoint: takes cards, and answers as the test sets."""

    port: int
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cards: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    clients: list[object] = field(default_factory=list)
    refusal: bytes | None = None

    @property
    def connections(self) -> int:
        return len(self.clients)

    @property
    def titles(self) -> list[str]:
        """Titles of the cards, without those that a new deployment brings with it."""
        found = [card["body"][0]["inlines"][0]["text"] for card in self.cards]
        return [title for title in found if not is_of_a_new_deployment(title)]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/workflows/1/invoke?sig={SIGNATURE}"

    def take(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str]]:
        """202 for a card that Teams shows, 400 with what is wrong for another."""
        self.paths.append(path)
        status, more = self.answers.pop(0) if self.answers else (202, {})
        if status != 202:
            return status, more
        envelope = json.loads(body)
        (attachment,) = envelope["attachments"]
        wrong = faults(attachment["content"])
        if (
            len(body) > 20_000
            or envelope["type"] != "message"
            or attachment["contentType"] != "application/vnd.microsoft.card.adaptive"
            or not headers["Content-Type"].startswith("application/json")
            or wrong
        ):
            return 400, {"X-Wrong": "; ".join(wrong)}
        self.cards.append(attachment["content"])
        return 202, {}


@contextmanager
def workflow(authority: Authority) -> Iterator[Workflow]:
    class Handler(BaseHTTPRequestHandler):
        def setup(self):
            # Before the handshake, so that who has come through it has been counted.
            served.clients.append(self.client_address)
            super().setup()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = served.take(self.path, self.headers, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            code = json.dumps(
                {"error": {"code": "TriggerDisabled", "message": self.path}}
            )
            refusal = code.encode() if served.refusal is None else served.refusal
            text = b"" if status < 300 else refusal
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    with serving(Handler, authority.server) as url:
        served = Workflow(int(url.rpartition(":")[2]))
        yield served


@contextmanager
def proxy() -> Iterator[tuple[int, list[str]]]:
    """A proxy for one connection: its port, and the requests that it saw."""
    heads: list[str] = []

    def serve() -> None:
        with listening.accept()[0] as near:
            head = near.recv(65_536).decode()
            if not head:
                return
            heads.append(head)
            host, _, port = head.split()[1].rpartition(":")
            with socket.create_connection((host, int(port))) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=pump, args=(far, near))
                back.start()
                pump(near, far)
                back.join()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield address[1], heads
        finally:
            # It would wait for ever for a client that has failed before it came.
            socket.create_connection(address).close()
            thread.join(SECONDS)


@contextmanager
def refusing_proxy(status: int) -> Iterator[int]:
    """The port of a proxy that opens no connection to anywhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(status, "sentinel reason")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Handler) as url:
        yield int(url.rpartition(":")[2])


def pump(source: socket.socket, sink: socket.socket) -> None:
    while data := source.recv(65_536):
        sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@dataclass
class MailServer:
    """A mail server, and what it took."""

    port: int = 0
    refuses: dict[str, str] = field(default_factory=dict)
    envelopes: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  aiosmtpd finds hooks by name
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        tls = server.transport and server.transport.get_extra_info("ssl_object")
        self.encrypted.append(tls is not None)
        sender = envelope.mail_from or ""
        self.envelopes.append((sender, list(envelope.rcpt_tos), parsed))
        return self.refuses.get("DATA", "250 taken")

    async def handle_NOOP(self, server, session, envelope, argument):  # noqa: N802
        return self.refuses.get("NOOP", "250 OK")

    async def handle_QUIT(self, server, session, envelope):  # noqa: N802
        if "QUIT" in self.refuses:
            server.transport.abort()
        return "221 Bye"

    def authenticate(self, server, session, envelope, mechanism, data) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        good = data.login.decode() == USER and data.password.decode() == PASSWORD
        return AuthResult(success=good, handled=good)


@contextmanager
def mail_server(
    authority: Authority, kind: str, *, accounts: bool = False
) -> Iterator[MailServer]:
    """A mail server: `plain`, `starttls`, or `tls` from the start."""
    served = MailServer()
    loop = asyncio.new_event_loop()

    def protocol() -> SMTP:
        return SMTP(
            served,
            hostname="mail.test",
            loop=loop,
            tls_context=authority.server if kind == "starttls" else None,
            authenticator=served.authenticate if accounts else None,
            auth_required=accounts and kind == "starttls",
            auth_require_tls=kind != "tls",
        )

    context = authority.server if kind == "tls" else None
    server = loop.run_until_complete(
        loop.create_server(protocol, "127.0.0.1", 0, ssl=context)
    )
    served.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield served
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def challenging_mail_server(authority: Authority, challenge: str) -> Iterator[int]:
    """The port of one that asks for a sign-in with such a challenge, over TLS."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 mail.test\r\n")
            for line in self.rfile:
                is_greeting = line.upper().startswith(b"EHLO")
                said = "250-mail.test\r\n250 AUTH LOGIN" if is_greeting else challenge
                self.wfile.write(f"{said}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = authority.server.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


async def _end(server: asyncio.Server) -> None:
    """Stop listening, and let what is under way come to its end."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
