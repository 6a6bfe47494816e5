"""A page of another site, open in a real browser on this machine, attacks the Dagster UI."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import httpx
import pytest
from playwright.sync_api import Page

from apex_pipeline_tests.support.chromium import chromium
from apex_pipeline_tests.support.gated_page import served
from apex_pipeline_tests.support.http_server import serving

pytestmark = pytest.mark.browser

_MUTATION = "mutation { setAutoMaterializePaused(paused: WANTED) }"
_REPORT = "report_asset_materialization/forged"

_EVERY_WAY = """
async ([ui, mutation, report]) => {
  const query = `${ui}/graphql?query=` + encodeURIComponent(mutation);
  const body = JSON.stringify({query: mutation});
  const tried = {};
  const attempt = async (name, work) => {
    try { tried[name] = await work(); } catch (error) { tried[name] = "blocked"; }
  };
  const load = (element) => new Promise((done, fail) => {
    element.onload = () => done("loaded");
    element.onerror = () => done("failed");
    document.body.append(element);
  });
  const make = (tag, values) => Object.assign(document.createElement(tag), values);
  await attempt("image", () => load(make("img", {src: query})));
  await attempt("script", () => load(make("script", {src: query})));
  await attempt("frame", () => load(make("iframe", {src: ui})));
  for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
    const sent = {method: "POST", mode: "no-cors", headers: {"Content-Type": type}};
    await attempt(`post ${type}`, async () =>
      (await fetch(`${ui}/graphql`, {...sent, body})).type);
    await attempt(`report ${type}`, async () =>
      (await fetch(report, {...sent, body: "{}"})).type);
  }
  const json = {method: "POST", headers: {"Content-Type": "application/json"}, body};
  await attempt("json", async () => (await fetch(`${ui}/graphql`, json)).status);
  await attempt("read", async () => (await fetch(`${ui}/server_info`)).text());
  await attempt("socket", () => new Promise((done) => {
    const socket = new WebSocket(ui.replace("http", "ws") + "/graphql", "graphql-ws");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  }));
  const form = make("form", {method: "post", enctype: "text/plain", action: report});
  form.append(make("input", {name: '{"a":"', value: '"}'}));
  const frame = make("iframe", {name: "answer"});
  document.body.append(form, frame);
  form.target = "answer";
  await attempt("form", () => new Promise((done) => {
    frame.onload = () => done("answered");
    form.submit();
  }));
  return tried;
}
"""


class _OtherSite(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Free pictures</title><body></body>")


@pytest.fixture(scope="module")
def other_site() -> Iterator[int]:
    """The port of a page that is none of ours."""
    with serving(_OtherSite) as address:
        yield int(address.rpartition(":")[2])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    options = (
        # A name of theirs that was made to point here.
        "--host-resolver-rules=MAP evil.example 127.0.0.1",
        # Newer browsers ask before a site may reach this machine; older do not.
        "--disable-features=LocalNetworkAccessChecks",
    )
    with chromium(*options) as browser:
        yield browser.new_page()


def _reported(home: Path, asset: str) -> bool:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = instance.get_latest_materialization_event(dg.AssetKey(asset))
    return found is not None


def _is_paused(ui: str) -> bool:
    query = {"query": "{ instance { autoMaterializePaused } }"}
    answer = httpx.post(f"{ui}/graphql", json=query).json()
    paused: bool = answer["data"]["instance"]["autoMaterializePaused"]
    return paused


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1"])
def test_no_page_of_another_site_does_or_reads_anything(
    tmp_path, page, other_site, host
):
    answers: list[tuple[str, int]] = []
    with served(tmp_path, None) as ui:
        before = _is_paused(ui)
        mutation = _MUTATION.replace("WANTED", str(not before).lower())
        page.on("response", lambda answer: answers.append((answer.url, answer.status)))
        page.goto(f"http://{host}:{other_site}/")
        tried = page.evaluate(_EVERY_WAY, [ui, mutation, f"{ui}/{_REPORT}"])
        theirs = [status for url, status in answers if "graphql" in url or "rep" in url]
        assert theirs
        assert set(theirs) <= {403, 405, 415, 421}
        assert tried["socket"] == "refused"
        assert (tried["json"], tried["read"]) == ("blocked", "blocked")
        assert tried["image"] == tried["script"] == "failed"
        assert _is_paused(ui) is before
        assert not _reported(tmp_path, "forged")
        # The same, asked by this machine's own user, does what the page wanted.
        httpx.post(f"{ui}/{_REPORT}", json={})
        assert _reported(tmp_path, "forged")
        httpx.post(f"{ui}/graphql", json={"query": mutation}).raise_for_status()
        assert _is_paused(ui) is not before


def test_a_name_made_to_point_here_gets_nothing(tmp_path, page):
    """Such a page has the UI's own origin, so that no other rule keeps it out."""
    with served(tmp_path, None) as ui:
        port = ui.rpartition(":")[2]
        answer = page.goto(
            f"http://evil.example:{port}/graphql?query={quote('{version}')}"
        )
        assert answer is not None
        assert answer.status == 421
        answer = page.goto(f"http://evil.example:{port}/")
        assert answer is not None
        assert answer.status == 421
