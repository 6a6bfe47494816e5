"""The gate in front of the Dagster UI, attacked by other sites and clients."""

import asyncio
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from apex_pipeline.defs.operations.dagster_ui import behind_the_gate, dagster_ui
from apex_pipeline.settings import PanelSettings
from apex_pipeline.web_gate import connections, serving
from apex_pipeline.web_gate.request_ids import RequestIds
from apex_pipeline.web_gate.sessions import Sessions
from apex_pipeline_tests.support.gated_page import OWN, served
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

TOKEN = "correct-horse-battery-staple"
CHUNKED = "Transfer-Encoding: chunked"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]
QUERY = {"query": "{ version }"}
MUTATION = {
    "query": 'mutation { terminateRun(runId: "none") { __typename } }',
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory) -> Iterator[str]:
    """A UI that serves this machine without a token."""
    with served(tmp_path_factory.mktemp("opened"), None) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[str]:
    """A UI behind a token."""
    with served(tmp_path_factory.mktemp("guarded"), TOKEN) as url:
        yield url


def test_the_ui_and_its_data_are_served_to_this_machine(opened):
    page = httpx.get(opened, headers={"Accept": "text/html"})
    assert "/_next/" in page.text
    assert page.headers["x-frame-options"] == "DENY"
    answer = httpx.post(f"{opened}/graphql", json=QUERY)
    assert answer.json()["data"]["version"]


def test_dagster_still_has_the_places_that_the_gate_stands_before(opened):
    """Fails when Dagster moves what `json_changes` and the tests below name."""
    reported = httpx.post(f"{opened}/report_asset_materialization/one", json={})
    assert reported.json() == {}
    assert "dagster_version" in httpx.get(f"{opened}/server_info").json()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(opened, headers):
    for path in ("/", "/graphql", "/server_info"):
        assert httpx.get(f"{opened}{path}", headers=headers).status_code == 421
    answer = httpx.post(f"{opened}/graphql", json=QUERY, headers=headers)
    assert answer.status_code == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_sites_page_neither_reads_nor_changes(opened, site):
    foreign = {"Sec-Fetch-Site": site}
    url = f"{opened}/graphql"
    assert httpx.get(url, params=QUERY, headers=foreign).status_code == 403
    assert httpx.post(url, json=MUTATION, headers=foreign).status_code == 403
    logs = httpx.get(f"{opened}/logs/a/b/c.out", headers=foreign)
    assert logs.status_code == 403
    # A link in a notice opens the page of a run.
    linked = httpx.get(f"{opened}/runs/x", headers=foreign | {"Accept": "text/html"})
    assert linked.status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://[x"]
)
def test_another_origin_changes_nothing(opened, origin):
    answer = httpx.post(f"{opened}/graphql", json=QUERY, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/notebook", "/dagit/notebook"])
def test_no_file_of_this_machine_is_shown_as_a_notebook(opened, path):
    answer = httpx.get(f"{opened}{path}", params={"path": "/etc/hostname"})
    assert answer.status_code == 404
    assert answer.json()["error"] == "not_served"


def test_graphql_in_an_address_is_refused(opened):
    """An image's address needs no permission from its server."""
    answer = httpx.get(f"{opened}/graphql", params=MUTATION)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "text/plain; application/json",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/a"])
def test_changes_come_as_json_only(opened, path, kind):
    answer = httpx.post(
        f"{opened}{path}",
        content=b'{"query": "{ version }"}',
        headers={"Content-Type": kind},
    )
    assert answer.status_code == 415


def open_socket(url: str, origin: str | None, **headers: str) -> None:
    with connect(
        url.replace("http", "ws") + "/graphql",
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol("graphql-ws")],
        additional_headers=headers,
    ) as found:
        found.send('{"type": "connection_init"}')
        assert "connection_ack" in str(found.recv(10))


def test_a_websocket_of_our_own_page_is_served(opened, guarded):
    open_socket(opened, opened)
    open_socket(opened, None)
    open_socket(guarded, None, Authorization=f"Bearer {TOKEN}")


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_websocket_of_another_site_is_refused(opened, origin):
    with pytest.raises(InvalidStatus) as refused:
        open_socket(opened, origin)
    assert refused.value.response.status_code == 403


def test_a_websocket_without_the_token_is_refused(guarded):
    with pytest.raises(InvalidStatus) as refused:
        open_socket(guarded, guarded)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/graphql", "/server_info", "/logs/a/b.out"])
def test_behind_a_token_nothing_is_told_without_it(guarded, path):
    assert httpx.get(f"{guarded}{path}").status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert httpx.get(f"{guarded}{path}", headers=wrong).status_code == 401


@pytest.mark.parametrize("token", [TOKEN, OWN])
def test_the_token_and_this_machines_own_secret_open_it(guarded, token):
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{guarded}/graphql", json=QUERY, headers=headers)
    assert answer.json()["data"]["version"]


def test_one_sign_in_opens_the_panel_and_the_ui(guarded):
    """Cookies belong to a host, whatever its port; the key comes from the token."""
    with httpx.Client(base_url=guarded) as client:
        turned = client.get("/runs", headers={"Accept": "text/html"})
        assert (turned.status_code, turned.headers["location"]) == (303, "/sign-in")
        assert client.get("/static/panel.css").status_code == 200
        own = {"Origin": guarded}
        client.post("/sign-in", data={"token": TOKEN}, headers=own)
        assert client.cookies["apex_panel_session"]
        answer = client.post("/graphql", json=QUERY, headers=own)
        assert answer.json()["data"]["version"]
        assert client.post("/graphql", json=QUERY).status_code == 403


def test_who_signs_out_of_one_process_has_signed_out_of_all(tmp_path):
    """The panel and the Dagster UI are two, and take the same cookie."""
    ended = tmp_path / "state" / "ended-sessions"
    ui, panel = (Sessions(TOKEN, ended=ended) for _ in "12")
    mine, yours = ui.begin(), ui.begin()
    assert panel.is_open(mine)
    ui.end(mine)
    assert not panel.is_open(mine)
    assert not Sessions(TOKEN, ended=ended).is_open(mine)
    panel.end(yours)
    assert not ui.is_open(yours)
    assert not ui.is_open(mine)
    assert stat.S_IMODE(ended.stat().st_mode) == 0o600
    assert mine.rpartition(".")[2] not in ended.read_text()


def test_signing_out_is_served_by_the_ui_and_counts_elsewhere(tmp_path):
    ended = tmp_path / "ended-sessions"
    elsewhere = Sessions(TOKEN, ended=ended)
    with (
        served(tmp_path, TOKEN, ended) as url,
        httpx.Client(base_url=url, headers={"Origin": url}) as client,
    ):
        client.post("/sign-in", data={"token": TOKEN})
        cookie = client.cookies["apex_panel_session"]
        assert elsewhere.is_open(cookie)
        client.post("/sign-out")
        assert not elsewhere.is_open(cookie)
        client.cookies["apex_panel_session"] = cookie
        assert client.post("/graphql", json=QUERY).status_code == 401
        elsewhere_began = elsewhere.begin()
        elsewhere.end(elsewhere_began)
        client.cookies["apex_panel_session"] = elsewhere_began
        assert client.post("/graphql", json=QUERY).status_code == 401


def test_signing_out_holds_here_though_it_cannot_be_noted(caplog):
    nowhere = Path("/proc/none/ended-sessions")
    here, elsewhere = (Sessions(TOKEN, ended=nowhere) for _ in "12")
    cookie = here.begin()
    here.end(cookie)
    assert not here.is_open(cookie)
    assert elsewhere.is_open(cookie)
    assert f"signing out could not be noted in {nowhere}" in caplog.text


def test_read_only_is_passed_on(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / "workspace.yaml").write_text("load_from: []\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dagster_ui([tmp_path / "workspace.yaml"], read_only=True) as ui:
        settings = PanelSettings(port=0)

        async def ask() -> httpx.Response:
            app = behind_the_gate(ui, settings)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1"
            ) as client:
                return await client.post("/graphql", json=MUTATION)

        answer = asyncio.run(ask())
    assert answer.json()["data"]["terminateRun"]["__typename"] == "UnauthorizedError"


@pytest.mark.parametrize(
    ("request_line", "more"),
    [
        ("POST {} HTTP/1.1", ["Content-Length: 5", CHUNKED]),
        ("POST {} HTTP/1.1", [CHUNKED, "content-length: 0"]),
        ("POST {} HTTP/1.0", ["Connection: keep-alive", CHUNKED]),
        ("GET {} HTTP/1.1", [*UPGRADE, "Content-Length: 5", CHUNKED]),
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/graphql"])
def test_a_request_with_two_ends_is_refused_and_its_connection_closed(
    opened, request_line, more, path
):
    """Otherwise a proxy takes what follows for the next client's request."""
    place = opened.removeprefix("http://")
    host, _, port = place.partition(":")
    smuggled = f"GET /server_info HTTP/1.1\r\nHost: {place}\r\n\r\n"
    head = "\r\n".join([request_line.format(path), f"Host: {place}", *more])
    sent = f"{head}\r\n\r\n0\r\n\r\n{smuggled}"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(sent.encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_that_leaves_in_the_middle_writes_no_traceback(tmp_path, caplog):
    """Who has not signed in may do so as often as it likes."""
    ended: list[str] = []

    class Noted(RequestIds):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await super().__call__(scope, receive, send)
            except BaseException as error:
                ended.append(repr(error))
                raise
            ended.append(scope["type"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "RequestIds", Noted)
        with served(tmp_path, TOKEN) as url:
            host, _, port = url.removeprefix("http://").partition(":")
            with socket.create_connection((host, int(port)), timeout=30) as client:
                client.sendall(
                    f"POST /sign-in HTTP/1.1\r\nHost: {host}:{port}\r\n"
                    "Content-Length: 100\r\n\r\ntok".encode()
                )
            wait_until(lambda: "http" in ended)
    assert not [each for each in ended if "ClientDisconnect" in each]
    assert "Traceback" not in caplog.text


def half_sent(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    found = socket.create_connection((host, int(port)), timeout=30)
    found.sendall(b"GET /server_info HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
    return found


def is_closed(found: socket.socket) -> bool:
    found.setblocking(False)
    try:
        return found.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_a_head_that_does_not_end_is_closed(opened, monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with half_sent(opened) as found:
        wait_until(lambda: is_closed(found))


def test_a_head_without_end_is_not_taken_into_memory(opened):
    with half_sent(opened) as found, pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  it may end at any piece
        for _ in range(1000):
            found.sendall(b"x" * 1024)
            time.sleep(0.001)


def test_an_open_websocket_costs_other_viewers_nothing(opened):
    with connect(
        opened.replace("http", "ws") + "/graphql",
        subprotocols=[Subprotocol("graphql-ws")],
    ):
        for _ in range(3):
            assert (
                httpx.get(f"{opened}/server_info", timeout=SECONDS).status_code == 200
            )


@pytest.mark.parametrize(
    "more", ["Content-Length: 5", "Transfer-Encoding: chunked", f"X: {'a' * 20_000}"]
)
def test_an_upgrade_that_comes_to_nothing_is_closed(opened, monkeypatch, more):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    host, _, port = opened.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as found:
        found.sendall(
            f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\n{more}\r\n\r\n".encode()
        )
        assert httpx.get(f"{opened}/server_info", timeout=SECONDS).status_code == 200
        wait_until(lambda: is_closed(found))


def test_two_hundred_slow_clients_cost_other_viewers_nothing(opened):
    slow = [half_sent(opened) for _ in range(200)]
    try:
        with httpx.Client(base_url=opened) as client:
            for _ in range(5):
                assert client.get("/server_info").status_code == 200
        wait_until(lambda: sum(is_closed(each) for each in slow) >= 100)
    finally:
        for each in slow:
            each.close()
