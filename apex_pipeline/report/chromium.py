"""Screenshots and paint times of pages in headless Chromium, driven by Playwright.

Playwright comes with the extra `dev`; a production image has neither it nor a browser.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from apex_pipeline.errors import ApexError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_PAGE_SECONDS = 25.0
_PAUSE_SECONDS = 0.15
# After the expected text appears, pictures and scripts may still move something.
_SETTLE_SECONDS = 1.0

_SHOWS = (
    "!!document.body && document.readyState === 'complete' "
    "&& document.body.innerText.includes({})"
)
_LARGEST_PAINT = """
    new Promise(resolve => {
        new PerformanceObserver(list => resolve(list.getEntries().at(-1).startTime))
            .observe({type: 'largest-contentful-paint', buffered: true});
        setTimeout(() => resolve(null), 2000);
    })
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """A page opened in an empty profile.

    Attributes:
        largest_paint_seconds: From the request to the largest paint ("Largest
            Contentful Paint", W3C); None if the browser does not report it.
    """

    png: bytes
    largest_paint_seconds: float | None


@dataclass(frozen=True, slots=True)
class BrowserWindow:
    """The size of the page, in pixels."""

    width: int = 1366
    height: int = 900


def find_chromium() -> str:
    """The path of the Chromium program.

    Raises:
        ApexError: Chromium is not installed.
    """
    for name in _PROGRAMS:
        found = shutil.which(name)
        if found:
            return found
    raise ApexError("No Chromium is installed here, or it is not on the PATH.")


@contextmanager
def opened(program: str) -> Iterator["Chromium"]:
    """Run a browser during the block.

    Raises:
        ApexError: Playwright is not installed, the browser does not start, or it ends.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415  dev only
    except ImportError:
        raise ApexError(
            "Pictures need Playwright; install it with `pip install playwright`."
        ) from None
    try:
        with (
            TemporaryDirectory(prefix="apex-chromium-") as home,
            sync_playwright() as playwright,
            playwright.chromium.launch(
                executable_path=program,
                # The browser must not get the secrets in our environment.
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": home},
                chromium_sandbox=os.geteuid() != 0,
            ) as browser,
        ):
            yield Chromium(browser)
    except Error as error:
        raise ApexError(f"Chromium failed: {error.message.splitlines()[0]}") from error


class Chromium:
    """A running browser."""

    def __init__(self, browser: "Browser") -> None:
        self._browser = browser

    def visit(
        self,
        url: str,
        *,
        expects: str,
        headers: Mapping[str, str] | None = None,
        window: BrowserWindow | None = None,
    ) -> Visit:
        """Open a page, wait until it shows a text, and take a screenshot.

        Args:
            url: The page.
            expects: A text that the finished page shows.
            headers: Sent with each request of the page.
            window: The size of the page.

        Raises:
            ApexError: The page cannot be opened, or does not show the text in time.
        """
        from playwright.sync_api import Error  # noqa: PLC0415  dev only

        window = window or BrowserWindow()
        with self._browser.new_context(
            viewport={"width": window.width, "height": window.height},
            extra_http_headers=dict(headers or {}),
            locale="en-US",
        ) as context:
            page = context.new_page()
            try:
                page.goto(url, timeout=_PAGE_SECONDS * 1000, wait_until="commit")
            except Error as error:
                cause = error.message.splitlines()[0].removeprefix("Page.goto: ")
                raise ApexError(f"{url} cannot be opened: {cause}.") from error
            _await(page, url, expects)
            time.sleep(_SETTLE_SECONDS)
            paint = page.evaluate(_LARGEST_PAINT)
            return Visit(
                page.screenshot(),
                paint / 1000 if isinstance(paint, int | float) else None,
            )


def _await(page: "Page", url: str, expects: str) -> None:
    deadline = time.monotonic() + _PAGE_SECONDS
    shows = _SHOWS.format(json.dumps(expects, allow_nan=False))
    while page.evaluate(shows) is not True:
        if time.monotonic() > deadline:
            raise ApexError(
                f"{url} does not show {expects!r} within {_PAGE_SECONDS:g} s."
            )
        time.sleep(_PAUSE_SECONDS)
