"""Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """A browser without a window until the block ends; it also runs as root.

    Args:
        options: More of Chromium's command line.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", *options]
        )
        yield browser
        browser.close()
