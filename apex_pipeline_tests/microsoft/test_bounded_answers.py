"""No answer of the authority, of Graph or of a gateway costs memory or time without end."""

import gzip
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import count

import httpx
import pytest

from apex_pipeline.errors import TransientError
from apex_pipeline.microsoft.bounded_answers import MOST_BYTES, BoundedAnswers
from apex_pipeline.microsoft.documented_success import TOKEN
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.microsoft.http_transport import token_http, translated
from apex_pipeline_tests.support.http_server import serving

PIECE = b"x" * 65_536


class Gateway(BaseHTTPRequestHandler):
    """Answers as its path says."""

    protocol_version = "HTTP/1.1"
    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/compressed":
            body = gzip.compress(PIECE * 100)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        elif self.path == "/plain":
            told = str(self.headers["Accept-Encoding"]).encode()
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
                    type(self).sent += len(PIECE)


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.sent = 0
    with serving(Gateway) as url:
        yield url


def asked(client: httpx.Client, url: str) -> bytes:
    with client, translated("ask"):
        return client.get(url).content


def test_no_compressed_answer_is_asked_for_or_unpacked(gateway):
    assert asked(token_http(None), f"{gateway}/plain") == b"identity"
    with pytest.raises(TransientError, match="the answer is compressed"):
        asked(token_http(None), f"{gateway}/compressed")


def test_an_answer_without_end_is_broken_off(gateway):
    with pytest.raises(TransientError, match="the answer is too large"):
        asked(token_http(None), f"{gateway}/endless")
    # What waits in the system's buffers is beyond it.
    assert Gateway.sent < 10 * MOST_BYTES


def test_an_answer_that_comes_in_small_pieces_has_to_end(gateway):
    ticks = count()
    transport = BoundedAnswers(
        httpx.HTTPTransport(), most_seconds=5, now=lambda: float(next(ticks))
    )
    with pytest.raises(TransientError, match="the answer does not end"):
        asked(httpx.Client(transport=transport), f"{gateway}/endless")


@pytest.mark.parametrize("token", ["a\\r\\n", "a b", "", "\\u007f", "é", "a\\u0000"])
def test_a_token_that_no_header_can_hold_is_refused_unquoted(token):
    """The error of the first request with it would quote it."""
    body = f'{{"access_token": "{token}", "token_type": "Bearer", "expires_in": 9}}'
    answer = Answer(200, {"content-type": "application/json"}, body.encode())
    assert answer.document is not None
    assert TOKEN(answer)


def test_a_token_as_entra_makes_it_is_taken():
    body = b'{"access_token": "eyJ0.eyJh-_.c~+/=", "token_type": "Bearer", "expires_in": 9}'
    assert TOKEN(Answer(200, {"content-type": "application/json"}, body)) is None
