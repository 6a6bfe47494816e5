"""A reverse proxy that publishes an application below a path, over http or https."""

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import trustme

from apex_pipeline_tests.support.http_server import serving

_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "date"}


@contextmanager
def proxied(
    address: str,
    path: str,
    *,
    is_kept: bool,
    authority: trustme.CA | None = None,
    names: tuple[str, ...] = (),
) -> Iterator[str]:
    """The address of the proxy, without the path; all other paths answer 404.

    Args:
        address: The application's own address.
        path: The path that the proxy publishes it under.
        is_kept: Whether the application sees the path too.
        authority: Signs the proxy's certificate; None for http.
        names: Host names that the certificate is for.
    """
    inner = urlsplit(address)

    class Proxy(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            target = self.path.split("?")[0]
            if target != path and not target.startswith(f"{path}/"):
                self.send_error(404)
                return
            wanted = self.path if is_kept else self.path.removeprefix(path) or "/"
            length = int(self.headers.get("Content-Length", 0))
            connection = HTTPConnection(inner.hostname or "", inner.port, timeout=60)
            with closing(connection):
                connection.request(
                    self.command,
                    wanted,
                    self.rfile.read(length) or None,
                    # Host among them, unchanged.
                    dict(self.headers.items()),
                )
                answer = connection.getresponse()
                body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OF_ONE_CONNECTION:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

    context = None
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
    with serving(Proxy, context) as served:
        yield served
