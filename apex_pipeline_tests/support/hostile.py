"""A server in place of Dataverse that gives the answers you set, however wrong.

It gives tokens as Entra does, so that clients trust it.
"""

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import trustme

from apex_pipeline.settings import DataverseSettings
from apex_pipeline_tests.support import http_server

TOKEN = "the-access-token-that-nobody-else-may-see"
SECRET = "the-client-secret-that-nobody-may-see"


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def answer(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """An HTTP answer as it goes over the wire; nothing in it is checked.

    It says that the connection ends with it, as it does: a client that kept it would
    lose the next request.
    """
    head = {
        "Content-Length": str(len(body)),
        "Connection": "close",
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} Told", *(f"{k}: {v}" for k, v in head.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


@dataclass
class Hostile:
    """The served thing.

    Attributes:
        says: Bytes in return for a request to the Web API.
        described: More members of the authority's description.
        asked: What came in besides requests for tokens.
    """

    url: str
    ca_bundle: Path
    says: Callable[[Asked], bytes] = lambda _: answer(204)
    described: dict[str, object] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def settings(self) -> DataverseSettings:
        return DataverseSettings(
            resource=self.url,
            authority=f"{self.url}/tenant",
            client_id="client",
            client_secret=SECRET,
            ca_bundle=self.ca_bundle,
        )


@contextmanager
def serving(folder: Path) -> Iterator[Hostile]:
    authority = trustme.CA()
    ca_bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(ca_bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                self.command, self.path, dict(self.headers), self.rfile.read(length)
            )
            self.wfile.write(entra(asked) or told(asked))
            self.close_connection = True

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  http.server's

    def entra(asked: Asked) -> bytes | None:
        if asked.path.endswith("openid-configuration"):
            base = f"{hostile.url}/tenant"
            document: dict[str, object] = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "msgraph_host": hostile.url.removeprefix("https://"),
            } | hostile.described
        elif asked.path.endswith("/oauth2/v2.0/token"):
            document = {
                "token_type": "Bearer",
                "expires_in": 3599,
                "access_token": TOKEN,
            }
        else:
            return None
        return answer(200, body=json.dumps(document).encode())

    def told(asked: Asked) -> bytes:
        hostile.asked.append(asked)
        return hostile.says(asked)

    with http_server.serving(Handler, context) as url:
        hostile = Hostile(url, ca_bundle)
        yield hostile
