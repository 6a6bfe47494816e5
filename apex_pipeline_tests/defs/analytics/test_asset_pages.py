"""The pages of analysts' assets in the real Dagster UI, as a browser shows them."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import dagster as dg
import httpx
import pytest
from playwright.sync_api import Page

from apex_pipeline.definitions import defs
from apex_pipeline.defs.analytics.rollup_jobs import range_tags
from apex_pipeline_tests.support.chromium import chromium
from apex_pipeline_tests.support.cost_series import weekly
from apex_pipeline_tests.support.ends import insert
from apex_pipeline_tests.support.rollup_reference import metric

pytestmark = pytest.mark.browser

DAYS = 45
PICTURE = 'img[src^="data:image/svg+xml"]'
# By how many pixels tables reach beyond what the UI shows of them.
CUT_OFF = """
() => [...document.querySelectorAll('td table')].map(table => {
    const right = table.getBoundingClientRect().right;
    let shown = Infinity;
    for (let around = table.parentElement; around; around = around.parentElement)
        if (getComputedStyle(around).overflowX != 'visible')
            shown = Math.min(shown, around.getBoundingClientRect().right);
    return Math.max(0, Math.round(right - shown)); })
"""


@pytest.fixture
def ui(database_url, monkeypatch, tmp_path) -> Iterator[str]:
    """Address of a UI whose instance holds one refresh of some weeks."""
    today = datetime.now(UTC).replace(hour=0, minute=1)
    insert(
        database_url,
        [
            metric(today - timedelta(days=DAYS - n), cost_usd=round(Decimal(cost), 5))
            for n, cost in enumerate(weekly(DAYS, 1))
        ],
    )
    first = (today - timedelta(days=DAYS)).date()
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("APEX_HISTORY_START", str(first))
    monkeypatch.setenv("APEX_EXPORT_DIR", str(tmp_path / "exports"))
    monday = first + timedelta(days=-first.weekday() % 7)
    last_monday = (today - timedelta(days=7 + today.weekday())).date()
    quiet = {"nux": {"enabled": False}, "telemetry": {"enabled": False}}
    with dg.instance_for_test(quiet, temp_dir=str(tmp_path)) as instance:
        for name, begin, end in (
            ("refresh_weekly_rollups", monday, last_monday),
            ("refresh_daily_rollups", first, today.date()),
        ):
            job = defs().resolve_job_def(name)
            tags = range_tags(begin, end)
            assert job.execute_in_process(instance=instance, tags=tags).success
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "dagster_webserver", "-p", str(port)]
        command += ["-h", "127.0.0.1", "-m", "apex_pipeline.definitions"]
        with subprocess.Popen(command) as server:
            try:
                wait_for(server, f"http://127.0.0.1:{port}")
                yield f"http://127.0.0.1:{port}"
            finally:
                server.terminate()


def wait_for(server, url):
    deadline = time.monotonic() + 90
    while True:
        assert server.poll() is None
        try:
            if httpx.get(f"{url}/server_info").is_success:
                return
        except httpx.HTTPError:
            assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        found = browser.new_page(viewport={"width": 1440, "height": 1500})
        found.set_default_timeout(60_000)
        yield found


def drawn(picture):
    """Wait for it, and say how large it is drawn."""
    picture.scroll_into_view_if_needed()
    return picture.evaluate(
        "async one => { await one.decode(); return [one.width, one.height]; }"
    )


def test_tables_and_pictures_are_where_an_analyst_looks(ui, page):
    for asset, words in (
        ("cost_forecast", "seasonal_naive"),
        ("daily_campaign_rollup", "p95 median ms"),
        ("weekly_campaign_rollup", "p95 median ms"),
        ("campaign_csv_exports", "forecast_totals.csv"),
        ("campaign_history", "before"),
    ):
        page.goto(f"{ui}/assets/{asset}")
        page.locator("td table", has_text=words).first.wait_for()
        width, height = drawn(page.locator(PICTURE).first)
        assert (width > 80, height > 30) == (True, True), asset
        # The last cell's padding is wider than that.
        assert max(page.evaluate(CUT_OFF)) < 5, asset
        page.get_by_text("[Show Markdown]").first.click()
        width, height = drawn(page.locator(PICTURE).last)
        assert (width > 500, height > 150) == (True, True), asset
