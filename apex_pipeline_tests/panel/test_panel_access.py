"""Access to the panel, and protection against other sites in a browser."""

from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request

from apex_pipeline.panel.responses import json_response
from apex_pipeline.settings import Tenant
from apex_pipeline.web_gate.rate_limit import Buckets, Rate, client_of
from apex_pipeline.web_gate.sessions import LIFETIME_SECONDS, Sessions
from apex_pipeline_tests.support.panel_server import TOKEN, served
from apex_pipeline_tests.support.waiting import SECONDS

COOKIE = "apex_panel_session"
SECRET_PATHS = ["/", "/api/kpis", "/api/metrics/recent", "/metrics", "/readyz"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A panel behind a token, in front of nothing."""
    with served({}, token=TOKEN, allowed_origins=("https://ok.example.com",)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=SECONDS) as client:
        yield client


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def own(client: httpx.Client) -> dict[str, str]:
    return {"Origin": str(client.base_url).rstrip("/")}


def sign_in(client: httpx.Client, token: str = TOKEN, **headers: str) -> httpx.Response:
    return client.post("/sign-in", data={"token": token}, headers=own(client) | headers)


@pytest.mark.parametrize("path", [*SECRET_PATHS, "/api/nothing", "/openapi.json"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(TOKEN + "x"),
        bearer(TOKEN[:-1]),
        bearer("gültig".encode().decode("latin-1")),
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}=9999999999.x.{'0' * 64}"},
        {"Cookie": f"{COOKIE}=.."},
        {"Cookie": "[=;;=,"},
    ],
)
def test_nothing_is_told_to_who_does_not_show_the_token(client, path, headers):
    raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
    answer = client.get(path, headers=raw)
    if path == "/":
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    else:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"] == "not_signed_in"


@pytest.mark.parametrize("path", ["/openapi.json", "/metrics"])
def test_the_token_opens_everything(client, path):
    assert client.get(path, headers=bearer()).status_code == 200
    assert client.get(path, headers={"Authorization": f"bearer  {TOKEN}"}).is_success


@pytest.mark.parametrize("path", ["/healthz", "/sign-in", "/static/panel.css"])
def test_what_tells_nothing_is_open(client, path):
    assert client.get(path).status_code == 200


def test_a_person_signs_in_once_and_out_again(client):
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert f"Max-Age={LIFETIME_SECONDS}" in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/sign-in").headers["location"] == "/"
    kept = client.cookies[COOKIE]
    assert client.post("/sign-out", headers=own(client)).status_code == 303
    assert COOKIE not in client.cookies
    # Who has copied the cookie has nothing of it any more.
    stolen = {"Cookie": f"{COOKIE}={kept}"}
    assert client.get("/openapi.json", headers=stolen).status_code == 401


def test_over_https_the_cookie_is_for_https_alone(url):
    with httpx.Client(
        base_url=url, timeout=SECONDS, headers={"Host": "panel.example.com"}
    ) as client:
        answer = sign_in(client, Origin="https://panel.example.com")
    assert "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN.upper(), "ü"])
def test_a_wrong_token_gives_no_cookie(client, token):
    answer = sign_in(client, token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "token is wrong" in answer.text


def test_what_is_no_form_gives_no_cookie(client):
    answer = client.post("/sign-in", content=b"&token=" * 50, headers=own(client))
    assert answer.status_code == 401


def test_guessing_ends_after_ten_attempts():
    with (
        served({}, token=TOKEN) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        statuses = [sign_in(client, "wrong").status_code for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert 1 <= int(sign_in(client).headers["retry-after"]) <= 6
        assert client.get("/openapi.json", headers=bearer()).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "https://ok.example.com"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing(client, headers):
    for path in ("/sign-in", "/sign-out", "/api/kpis"):
        answer = client.post(path, headers=headers | bearer())
        assert answer.status_code == 403
        assert answer.json()["error"] == "other_site"


@pytest.mark.parametrize("path", ["/api/rollups/daily.csv", "/api/history.csv"])
@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "https://evil.example.com"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://ok.example.com"}, False),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
    ],
)
def test_another_sites_page_makes_no_viewer_export(client, path, headers, is_refused):
    """An image in it would leave an event in the audit trail, in the viewer's name."""
    answer = client.get(path, headers=headers | bearer())
    assert (answer.status_code == 403) is is_refused


def test_a_cookie_changes_nothing_without_an_origin(client):
    sign_in(client)
    assert client.post("/api/kpis").status_code == 403
    assert client.post("/api/kpis", headers=own(client)).status_code == 405
    client.cookies.clear()
    assert client.post("/api/kpis", headers=bearer()).status_code == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:3100", 200),
        ("127.0.0.1", 200),
        ("[::1]:3100", 200),
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_without_a_token_a_name_made_to_point_here_is_refused(host, status):
    with served({}) as url:
        answer = httpx.get(f"{url}/healthz", headers={"Host": host})
    assert answer.status_code == status


def test_without_a_token_there_is_nothing_to_sign_in_to():
    with served({}) as url, httpx.Client(base_url=url, timeout=SECONDS) as client:
        assert client.get("/sign-in").headers["location"] == "/"
        assert sign_in(client).status_code == 401
        assert client.get("/openapi.json").status_code == 200


def test_listed_origins_alone_may_read_in_a_browser(client):
    for origin, allowed in (
        ("https://ok.example.com", True),
        ("https://no.dev", False),
    ):
        answer = client.get("/openapi.json", headers={"Origin": origin} | bearer())
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in answer.headers
    preflight = client.options(
        "/api/kpis",
        headers={
            "Origin": "https://ok.example.com",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        },
    )
    assert preflight.status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/kpis", "/static/panel.css"])
def test_every_answer_carries_the_headers_that_guard_its_reader(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert policy.endswith("frame-ancestors 'none'")
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_with_its_time_and_with_another_token():
    clock = Clock()
    sessions = Sessions(TOKEN, clock)
    cookie = sessions.begin()
    assert sessions.is_open(cookie)
    assert Sessions(TOKEN, clock).is_open(cookie)
    assert not Sessions(TOKEN + "x", clock).is_open(cookie)
    clock.now += LIFETIME_SECONDS - 1
    assert sessions.is_open(cookie)
    clock.now += 1
    assert not sessions.is_open(cookie)


def test_a_cookie_with_a_later_end_is_a_forgery():
    sessions = Sessions(TOKEN, Clock())
    expiry, number, signature = sessions.begin().split(".")
    assert not sessions.is_open(f"{int(expiry) + 1}.{number}.{signature}")
    assert not sessions.is_open(f"{expiry}.{number}x.{signature}")


def test_ended_sessions_are_forgotten_when_they_would_be_over_anyway():
    clock = Clock()
    sessions = Sessions(TOKEN, clock)
    first = sessions.begin()
    sessions.end(first)
    assert not sessions.is_open(first)
    clock.now += LIFETIME_SECONDS
    second = sessions.begin()
    sessions.end(second)
    assert len(sessions._ended) == 1  # noqa: SLF001  memory is not to be seen otherwise


def test_a_client_has_a_burst_and_then_its_rate():
    clock = Clock()
    buckets = Buckets(Rate(per_second=2, burst=3), clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]
    clock.now += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_more_clients_than_are_remembered_cost_no_memory():
    buckets = Buckets(Rate(per_second=1, burst=1), most_clients=2, clock=Clock())
    assert [buckets.take(client) for client in "abab"] == [0, 0, 1, 1]
    assert buckets.take("c") == 0
    assert buckets.take("a") == 0  # forgotten for c


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_a_network_that_one_host_has_is_one_client(one, other, same):
    assert (client_of(one) == client_of(other)) is same


def test_when_a_document_was_made_is_no_part_of_its_tag():
    request = Request({"type": "http", "method": "GET", "headers": []})
    tags = {
        json_response(request, {"generated_at": n, "as_of": as_of}).headers["etag"]
        for n, as_of in ((1, 1), (2, 1), (2, 2))
    }
    assert len(tags) == 2


def test_a_tenants_panel_says_whose_it_is_before_and_after_signing_in():
    with (
        served({}, token=TOKEN, tenant=Tenant("acme")) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as client,
    ):
        assert "acme: Campaign metrics" in client.get("/sign-in").text
        sign_in(client)
        assert "<h1>acme: Campaign metrics</h1>" in client.get("/").text
        figures = client.get("/metrics").text.splitlines()
    samples = [line for line in figures if not line.startswith("#")]
    assert samples
    assert all('tenant="acme"' in sample for sample in samples)


def test_without_a_tenant_neither_page_nor_figures_name_one(client):
    sign_in(client)
    assert "<h1>Campaign metrics</h1>" in client.get("/").text
    assert "tenant=" not in client.get("/metrics").text
