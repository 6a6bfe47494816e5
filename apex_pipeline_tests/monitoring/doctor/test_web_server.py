"""What the doctor makes of the answers at APEX_DAGSTER_URL."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.doctor.web_server import heartbeats_seen_by
from apex_pipeline_tests.support.http_server import serving

AT = 1_795_000_000.5


@dataclass
class Page:
    """A web server, and what it says."""

    url: str = ""
    says: tuple[int, bytes] = (200, b"")


@pytest.fixture(scope="module")
def page():
    found = Page()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/graphql"
            assert "allDaemonStatuses" in asked["query"]
            status, body = found.says
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as found.url:
        yield found


def seen(page, status, body):
    page.says = status, body if isinstance(body, bytes) else json.dumps(body).encode()
    return heartbeats_seen_by(page.url)


def told(*statuses):
    return {"data": {"instance": {"daemonHealth": {"allDaemonStatuses": statuses}}}}


def test_the_heartbeats_are_those_that_it_tells(page):
    beats = seen(
        page,
        200,
        told(
            {"daemonType": "SENSOR", "lastHeartbeatTime": AT},
            {"daemonType": "SCHEDULER", "lastHeartbeatTime": None},
        ),
    )
    assert beats == {"SENSOR": datetime.fromtimestamp(AT, UTC)}
    assert seen(page, 200, told()) == {}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, b"sign in"),
        (500, told()),
        (302, b""),
        (200, b"<html><title>Sign in</title></html>"),
        (200, b""),
        (200, []),
        (200, {"errors": [{"message": "no"}], "data": None}),
        (200, {"data": {"instance": {}}}),
        (200, told({"daemonType": "SENSOR"})),
        (200, told({"lastHeartbeatTime": AT})),
        (200, told({"daemonType": "SENSOR", "lastHeartbeatTime": "soon"})),
        (200, told({"daemonType": "SENSOR", "lastHeartbeatTime": 1e99})),
        (200, told({"daemonType": [], "lastHeartbeatTime": AT})),
        (200, told("SENSOR")),
    ],
)
def test_anything_else_is_not_known(page, status, body):
    assert seen(page, status, body) is None


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1", "nothing"])
def test_an_address_without_a_web_server_is_not_known(address):
    assert heartbeats_seen_by(address) is None


@pytest.mark.parametrize("entry", ["127.0.0.1,fd00::/8", "[::1],127.0.0.1"])
def test_an_entry_that_httpx_cannot_read_hides_nothing(page, monkeypatch, entry):
    monkeypatch.setenv("NO_PROXY", entry)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert seen(page, 200, told()) == {}


def test_a_proxy_that_cannot_be_used_is_named(page, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(ConfigError, match="ALL_PROXY is a proxy of type socks5"):
        seen(page, 200, told())
