"""Send requests to a secret URL.

This uses the standard library's client, because httpx logs the URL of each request. It
follows no redirects, which would leak the secret, and no error quotes the URL.
"""

import base64
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.microsoft.http_transport import certificate_fault, trust
from apex_pipeline.microsoft.proxy_routes import proxy_refusal
from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.settings.proxies import load_proxies

SECONDS = 10.0
_MOST_ANSWER_BYTES = 65_536
_NO_TLS = re.compile("WRONG_VERSION_NUMBER|UNKNOWN_PROTOCOL|HTTP_REQUEST|RECORD_LAYER")


def call(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    ca_bundle: Path | None,
) -> Answer:
    """Send a request and return the answer, whatever its status.

    Raises:
        DeliveryError: There was no answer.
        ConfigError: The CA bundle is unusable.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with _connected(parts, ca_bundle, SECONDS) as connection, _translated():
        connection.request(method, target, body, dict(headers or {}))
        # After “Connection: close” the answer owns the socket.
        with connection.getresponse() as response:
            found = {name.lower(): value for name, value in response.getheaders()}
            body = response.read(_MOST_ANSWER_BYTES)
            if response.length and len(body) < _MOST_ANSWER_BYTES:
                raise DeliveryError("its answer breaks off")
            return Answer(response.status, found, body)


def reach(url: str, *, ca_bundle: Path | None, seconds: float) -> float:
    """Connect with TLS, send nothing, and return how many seconds that took.

    Raises:
        DeliveryError: It is not reachable, or its certificate is not trusted.
        ConfigError: The CA bundle is unusable.
    """
    began = time.monotonic()
    with _connected(urlsplit(url), ca_bundle, seconds):
        return time.monotonic() - began


@contextmanager
def _connected(
    parts: SplitResult, ca_bundle: Path | None, seconds: float
) -> Iterator[HTTPConnection]:
    host, port = parts.hostname or "", parts.port
    connection = (
        HTTPConnection(host, port, timeout=seconds)
        if parts.scheme == "http"
        else _secured(host, port or 443, trust(ca_bundle), seconds)
    )
    try:
        with _translated():
            connection.connect()
        yield connection
    finally:
        connection.close()


def _secured(
    host: str, port: int, context: ssl.SSLContext, seconds: float
) -> HTTPSConnection:
    """Connect with TLS to the target, through HTTPS_PROXY if that is set."""
    try:
        proxy = load_proxies(os.environ).towards("https", host, port)
    except ConfigError as error:
        raise DeliveryError(str(error)) from None
    if proxy is None:
        return HTTPSConnection(host, port, timeout=seconds, context=context)
    via = urlsplit(proxy)
    if via.scheme == "https":
        # The standard library has no TLS within TLS.
        raise DeliveryError(
            "the proxy on the way must begin with http://; name such a one in HTTPS_PROXY, "
            "or the host in NO_PROXY"
        )
    near, near_port = via.hostname or "", via.port or 80
    connection = HTTPSConnection(near, near_port, timeout=seconds, context=context)
    connection.set_tunnel(host, port, _proxy_headers(via))
    return connection


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    encoded = base64.b64encode(pair.encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}


@contextmanager
def _translated() -> Iterator[None]:
    """Translate network errors.

    Raises:
        DeliveryError: Names the kind of error only, because texts may quote the URL.
    """
    try:
        yield
    except OSError as error:
        said = str(error)
        # The standard library has no class of its own for it.
        if error.errno is None and said.startswith("Tunnel connection failed"):
            raise DeliveryError(proxy_refusal(said)) from None
        raise DeliveryError(reason(error)) from None
    except HTTPException as error:
        raise DeliveryError(f"no answer: {type(error).__name__}") from None


def reason(error: OSError) -> str:
    """Describe a network error without revealing the URL; with a remedy, if there is one."""
    match error:
        case ssl.SSLCertVerificationError():
            return certificate_fault(error)
        case ssl.SSLError() if _NO_TLS.search(str(error)):
            return "it does not speak TLS on this port"
        case ssl.SSLError():
            return f"TLS failed: {error.strerror or type(error).__name__}"
        case TimeoutError():
            return "no answer: it took too long"
        case socket.gaierror():
            return "its name is not known to the DNS"
        case _:
            return f"no answer: {error.strerror or type(error).__name__}"
