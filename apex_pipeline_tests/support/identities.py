"""What signs in without a secret: tokens that a cluster issues, and a machine's endpoint."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.http_server import serving


@dataclass
class Cluster:
    """Issues the tokens of one application, as the emulator expects them signed.

    Attributes:
        file: Where the newest token lies.
    """

    emulator: ServedEmulator
    client_id: str
    file: Path
    _key: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(65537, 2048)
    )

    def certificate(self) -> x509.Certificate:
        """What verifies the tokens."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )

    def register(self) -> None:
        """Have the emulator trust this cluster for the application."""
        self._certificate = self.certificate()
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.emulator.register(self.client_id, certificate=pem)

    def issue(self, *, starts: float = -7200, seconds: float = 600) -> None:
        """Replace the file by a token that is valid from and until so many seconds."""
        now = time.time()
        claims = {
            "aud": f"{self.emulator.authority}/oauth2/v2.0/token",
            "iss": self.client_id,
            "sub": self.client_id,
            "nbf": int(now + starts),
            "exp": int(now + seconds),
        }
        print_ = self._certificate.fingerprint(hashes.SHA256())
        header = {"x5t#S256": jwt.utils.base64url_encode(print_).decode()}
        token = jwt.encode(claims, self._key, algorithm="RS256", headers=header)
        self.file.write_text(f"{token}\n")


@dataclass
class Machine:
    """The endpoint of an Azure machine, which gives out tokens of its identity.

    Attributes:
        answers: First answers: status, headers and body.
        asked: The query and headers of each request.
    """

    url: str = ""
    token: Callable[[], str] = lambda: "token-of-the-machine"
    answers: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    asked: list[tuple[dict[str, str], dict[str, str]]] = field(default_factory=list)

    def take(
        self, path: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        self.asked.append((dict(parse_qsl(urlsplit(path).query)), headers))
        if self.answers:
            return self.answers.pop(0)
        expires = {"expires_in": "3599", "expires_on": str(int(time.time()) + 3599)}
        body = {"access_token": self.token(), "token_type": "Bearer"} | expires
        return 200, {"Content-Type": "application/json"}, json.dumps(body)


@contextmanager
def served_machine() -> Iterator[Machine]:
    """Serve it on a port of this machine."""
    machine = Machine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, sent, body = machine.take(self.path, headers)
            self.send_response(status)
            for name, value in sent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

    with serving(Handler) as machine.url:
        yield machine
