"""The panel below a path of a reverse proxy, and in a frame of another site's page."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
import trustme
from playwright.sync_api import Browser, expect

from apex_pipeline_tests.support.chromium import chromium
from apex_pipeline_tests.support.ends import environment
from apex_pipeline_tests.support.http_server import serving
from apex_pipeline_tests.support.panel_server import TOKEN, ago, deliver, served
from apex_pipeline_tests.support.reverse_proxy import proxied
from apex_pipeline_tests.support.waiting import SECONDS

ROOT = "/apex"
COOKIE = "apex_panel_session"
HOST = "panel.localhost"


@pytest.fixture(params=[False, True], ids=["path removed", "path kept"])
def proxy(request) -> Iterator[str]:
    """A panel behind a token, below a path of a proxy of either kind."""
    with (
        served({}, token=TOKEN, root_path=ROOT) as panel,
        proxied(panel, ROOT, is_kept=request.param) as address,
    ):
        yield address


@pytest.fixture
def client(proxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy, timeout=SECONDS) as client:
        yield client


def sign_in(client: httpx.Client) -> httpx.Response:
    origin = str(client.base_url).rstrip("/")
    return client.post(
        f"{ROOT}/sign-in", data={"token": TOKEN}, headers={"Origin": origin}
    )


def test_signing_in_and_out_stays_below_the_path(client):
    for page in (ROOT, f"{ROOT}/"):
        answer = client.get(page)
        assert (answer.status_code, answer.headers["location"]) == (
            303,
            "/apex/sign-in",
        )
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/apex/")
    # Another application on the same host does not get the cookie.
    assert "; Path=/apex;" in answer.headers["set-cookie"]
    assert client.get(f"{ROOT}/sign-in").headers["location"] == "/apex/"
    assert client.get(f"{ROOT}/openapi.json").status_code == 200
    origin = {"Origin": str(client.base_url).rstrip("/")}
    answer = client.post(f"{ROOT}/sign-out", headers=origin)
    assert answer.headers["location"] == "/apex/sign-in"
    assert COOKIE not in client.cookies
    assert client.get(f"{ROOT}/openapi.json").status_code == 401


def test_every_address_in_a_page_is_below_the_path_and_answers(client):
    pages = [client.get(f"{ROOT}/sign-in").text]
    sign_in(client)
    pages.append(client.get(f"{ROOT}/").text)
    named = {
        address
        for page in pages
        for address in re.findall(r'(?:href|src|data-source)="([^"#][^"]*)"', page)
    }
    assert len(named) > 10
    for address in named:
        assert address.startswith(f"{ROOT}/"), address
        # Nothing is behind this panel: what it cannot read, it says.
        assert client.get(address.replace("&amp;", "&")).status_code in {200, 503}
    forms = {each for page in pages for each in re.findall(r'action="([^"]*)"', page)}
    assert forms == {"/apex/sign-in", "/apex/sign-out"}


def test_the_description_of_the_api_says_where_it_is(client):
    sign_in(client)
    document = client.get(f"{ROOT}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]


def test_without_a_proxy_it_answers_too(client):
    """A probe of the cluster, or somebody on the same machine."""
    with (
        served({}, token=TOKEN, root_path=ROOT) as panel,
        httpx.Client(base_url=panel, timeout=SECONDS) as direct,
    ):
        assert direct.get("/healthz").status_code == 200
        assert direct.get("/apex/healthz").status_code == 200
        assert direct.get("/apexhealthz").status_code == 401


def test_what_is_behind_the_gate_stays_there_below_the_path(client):
    """The path is taken off before anything looks at it."""
    for path in ("/api/kpis", "/metrics", "/static/../metrics", "/apex/metrics"):
        answer = client.get(f"{ROOT}{path}", headers={"Accept": "application/json"})
        assert answer.status_code in {401, 404}, path
    foreign = {
        "Origin": "https://elsewhere.example",
        "Authorization": f"Bearer {TOKEN}",
    }
    answer = client.post(f"{ROOT}/api/metrics/campaign", json={}, headers=foreign)
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["https://studio.example", None])
def test_a_frame_is_for_the_named_origins_alone(origin):
    framers = (origin,) if origin else ()
    with served({}, token=TOKEN, frame_ancestors=framers) as url:
        headers = httpx.get(f"{url}/sign-in").headers
    policy = headers["content-security-policy"]
    assert policy.endswith(f"frame-ancestors {origin or chr(39) + 'none' + chr(39)}")
    assert ("x-frame-options" in headers) is (origin is None)


def test_a_cookie_is_for_frames_over_https_alone():
    """Browsers refuse `SameSite=None` without `Secure`."""
    framers = ("https://studio.example",)
    with served({}, token=TOKEN, frame_ancestors=framers) as url:
        plain = httpx.post(
            f"{url}/sign-in", data={"token": TOKEN}, headers={"Origin": url}
        )
        host = {"Host": HOST, "Origin": f"https://{HOST}"}
        safe = httpx.post(f"{url}/sign-in", data={"token": TOKEN}, headers=host)
    assert "SameSite=strict" in plain.headers["set-cookie"]
    assert "SameSite=none; Secure; Partitioned" in safe.headers["set-cookie"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = (
        # Newer browsers ask before a site may reach this machine; older do not.
        "--disable-features=LocalNetworkAccessChecks",
        # As it is meant to become, and is in other browsers.
        "--test-third-party-cookie-phaseout",
    )
    with chromium(*options) as opened:
        yield opened


@pytest.mark.browser
@pytest.mark.parametrize("is_kept", [False, True], ids=["path removed", "path kept"])
def test_a_person_uses_the_whole_page_below_the_path(
    browser, database_url, emulator, is_kept, tmp_path
):
    deliver(emulator, {"apex_costusd": 3.5, "apex_createdat": ago(hours=2)})
    variables = environment(emulator, database_url, tmp_path)
    wrong: list[str] = []
    with (
        served(variables, token=TOKEN, root_path=ROOT) as panel,
        proxied(panel, ROOT, is_kept=is_kept) as address,
        browser.new_context() as context,
    ):
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda said: wrong.append(said.text))
        page.on(
            "response",
            lambda got: wrong.append(got.url) if got.status == 404 else None,
        )
        page.goto(f"{address}{ROOT}")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#live")).to_contain_text("Read at", timeout=30_000)
        assert page.url == f"{address}{ROOT}/"
        with page.expect_response(f"**{ROOT}/live", timeout=60_000) as polled:
            pass
        assert polled.value.status == 200
        page.get_by_role("link", name="60 days").click()
        page.wait_for_url(f"{address}{ROOT}/?days=60#trend")
        with page.expect_download() as started:
            page.get_by_role("link", name="Download CSV", exact=True).first.click()
        assert started.value.suggested_filename.endswith(".csv")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{address}{ROOT}/sign-in")
    assert wrong == []


@contextmanager
def studio(authority: trustme.CA, shown: list[str]) -> Iterator[str]:
    """The origin of another site, whose page shows an address in a frame."""

    class Studio(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            page = f'<!doctype html><iframe src="{shown[0]}" width="900"></iframe>'
            self.wfile.write(page.encode())

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("studio.localhost").configure_cert(context)
    with serving(Studio, context) as address:
        yield address.replace("127.0.0.1", "studio.localhost")


@pytest.mark.browser
@pytest.mark.parametrize("is_allowed", [True, False])
def test_a_page_of_the_named_origin_shows_the_panel_and_no_other_does(
    browser, is_allowed
):
    authority = trustme.CA()
    shown: list[str] = []
    with (
        studio(authority, shown) as site,
        served(
            {},
            token=TOKEN,
            root_path=ROOT,
            frame_ancestors=(site if is_allowed else "https://other.example",),
        ) as panel,
        proxied(
            panel, ROOT, is_kept=False, authority=authority, names=(HOST,)
        ) as address,
        browser.new_context(ignore_https_errors=True) as context,
    ):
        shown.append(f"{address.replace('127.0.0.1', HOST)}{ROOT}/")
        page = context.new_page()
        page.goto(site)
        frame = page.frame_locator("iframe")
        if not is_allowed:
            page.wait_for_load_state("networkidle")
            assert frame.get_by_label("Token").count() == 0
            return
        frame.get_by_label("Token").fill(TOKEN)
        frame.get_by_role("button", name="Sign in").click()
        expect(frame.get_by_role("button", name="Sign out")).to_be_visible(
            timeout=30_000
        )
