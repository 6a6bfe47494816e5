"""The report in a real browser, and the browser that the report itself looks with."""

import struct
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from apex_pipeline.errors import ApexError
from apex_pipeline.report import screenshots
from apex_pipeline.report.chromium import BrowserWindow, find_chromium, opened
from apex_pipeline.report.document import (
    Lines,
    LineState,
    Note,
    Picture,
    Report,
    ReportLine,
    ReportTable,
    Section,
    SignOff,
)
from apex_pipeline.report.page import to_html
from apex_pipeline.report.report_subject import read_subject
from apex_pipeline_tests.support.chromium import chromium
from apex_pipeline_tests.support.ends import environment, free_port
from apex_pipeline_tests.support.panel_server import TOKEN, deliver, served
from apex_pipeline_tests.support.report_reading import HOSTILE

pytestmark = pytest.mark.browser


def size(png):
    """Width and height in the head of a PNG."""
    assert png.startswith(b"\x89PNG")
    return struct.unpack(">II", png[16:24])


def told(block):
    """The lines in place of a picture."""
    assert isinstance(block, Lines)
    return block.lines


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    return environment(emulator, database_url, tmp_path)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_panel_is_seen_also_behind_its_token(emulator, variables, token):
    deliver(emulator, {"apex_tokensout": 42})
    with served(variables, token=token) as url:
        variables["APEX_PANEL_PORT"] = url.rpartition(":")[2]
        if token is not None:
            variables["APEX_PANEL_TOKEN"] = token
        seen = screenshots.look(read_subject(variables), wanted=True)
    panel, runs = seen.blocks
    assert isinstance(panel, Picture)
    assert size(panel.png) == (1366, 1250)
    paints = [visit.largest_paint_seconds for visit in seen.paints.visits]
    assert len(paints) == 3
    assert all(paint is not None and 0 < paint < 60 for paint in paints)
    # The address of the Dagster UI is unknown.
    (line,) = told(runs)
    assert line.state is LineState.NOT_MEASURED
    assert "APEX_DAGSTER_URL" in line.actual


def test_pages_that_are_not_served_are_reported(variables):
    port = free_port()
    variables |= {
        "APEX_PANEL_PORT": str(port),
        "APEX_DAGSTER_URL": f"http://127.0.0.1:{port}",
    }
    seen = screenshots.look(read_subject(variables), wanted=True)
    lines = [line for block in seen.blocks for line in told(block)]
    assert [line.state for line in lines] == [LineState.NOT_MEASURED] * 2
    assert "does not answer" in lines[0].actual
    assert "cannot be opened" in lines[1].actual
    assert "does not answer" in seen.paints.reason


def test_a_machine_without_a_browser_says_so(variables, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = screenshots.look(read_subject(variables), wanted=True)
    for block in seen.blocks:
        assert "No Chromium is installed" in told(block)[0].actual


def test_what_is_no_browser_is_told_and_ended(tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(ApexError, match="Chromium failed"), opened(str(program)):
        pass


def test_a_machine_without_playwright_says_so(variables, monkeypatch):
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    seen = screenshots.look(read_subject(variables), wanted=True)
    for block in seen.blocks:
        assert "Pictures need Playwright" in told(block)[0].actual


def test_no_process_and_no_profile_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    page = tmp_path / "page.html"
    page.write_text("<h1>It is here</h1>")
    with opened(find_chromium()) as chromium:
        visit = chromium.visit(
            page.as_uri(), expects="It is here", window=BrowserWindow(390, 300)
        )
        assert size(visit.png) == (390, 300)
        profile = next(tmp_path.glob("playwright_chromiumdev_profile-*"))
    assert not profile.exists()
    assert not list(tmp_path.glob("apex-chromium-*"))
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # It may have ended by now.
        with suppress(OSError):
            assert str(profile).encode() not in path.read_bytes()


@pytest.fixture
def report(tmp_path):
    """A report of everything that a block can be, with hostile text in it."""
    with opened(find_chromium()) as chromium:
        blank = tmp_path / "blank.html"
        blank.write_text("<p>page</p>")
        png = chromium.visit(blank.as_uri(), expects="page").png
    lines = tuple(
        ReportLine(value, state, value, value, value)
        for value, state in zip(HOSTILE, [*LineState] * 3, strict=False)
    )
    wide = ("apex_campaignmetricsid", *("0b3c8f4e-6f0a-4a3c-9a55-000000000001",) * 4)
    sections = (
        Section("lines", "Lines", (Lines(lines, "Some"), Note(HOSTILE[1]))),
        Section(
            "table",
            "ReportTable",
            (ReportTable(wide, (wide, (*HOSTILE[:5],)), "Wide"),),
        ),
        Section("pictures", "Pictures", (Picture("A page", png),)),
        Section("end", "End", (SignOff(("Accepted by",)),)),
    )
    at = datetime(2026, 11, 25, tzinfo=UTC)
    path = tmp_path / "report.html"
    path.write_text(to_html(Report("Report", at, "about it", sections)))
    return path


def test_the_page_is_whole_accessible_and_fits_a_phone_and_a_desk(report):
    wrong, asked = [], set()
    with chromium() as browser:
        for width in (390, 1366):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda said: wrong.append(said.text))
            page.on("dialog", lambda dialog: wrong.append(dialog.message))
            page.on("request", lambda request: asked.add(request.url.partition(":")[0]))
            page.goto(report.as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide == width
            seen = page.evaluate("document.images[0].naturalWidth")
            assert seen == 1366
            assert page.locator(".lines .state").first.is_visible()
        findings = Axe().run(page).response["violations"]
        serious = {"serious", "critical"}
        assert [f["id"] for f in findings if f["impact"] in serious] == []
    assert wrong == []
    assert asked <= {"file", "data"}
