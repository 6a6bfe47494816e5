"""Drive headless Chromium for screenshots and paint times.

The Chrome DevTools Protocol runs over two pipes. That needs no port that others could
use, and keeps the panel's token off the command line.
"""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

from apex_pipeline.errors import ApexError

_PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars"),
    *("--no-first-run", "--lang=en-US", "--disable-dev-shm-usage", "--mute-audio"),
    # The browser should open our pages and contact no other servers.
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--disable-default-apps"),
)
# The browser reads from descriptor 3 and writes to 4; a shell puts our pipes there.
_SHELL = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'

_START_SECONDS = 20.0
_PAGE_SECONDS = 25.0
_STOP_SECONDS = 5.0
_PAUSE_SECONDS = 0.15
# After the expected text appears, pictures and scripts may still move something.
_SETTLE_SECONDS = 1.0

_SHOWS = "!!document.body && document.readyState === 'complete' && {} "
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
class Window:
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
    """Run a browser during the block; its profile is deleted afterwards.

    Raises:
        ApexError: The browser does not start.
    """
    with TemporaryDirectory(prefix="apex-chromium-") as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")
        process = subprocess.Popen(  # noqa: S603  the browser that was found
            ["/bin/sh", "-c", _SHELL, "sh", *command, "about:blank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The browser must not get the secrets in our environment.
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": profile},
            start_new_session=True,
        )
        try:
            chromium = Chromium(process)
            chromium.call("Browser.getVersion", seconds=_START_SECONDS)
            yield chromium
        finally:
            _end(process)


class Chromium:
    """A running browser."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the pipes."""
        if process.stdin is None or process.stdout is None:
            raise ValueError("the browser has no pipes")
        self._input, self._output = process.stdin, process.stdout
        self._numbers = count(1)
        self._read = b""

    def visit(
        self,
        url: str,
        *,
        expects: str,
        headers: Mapping[str, str] | None = None,
        window: Window | None = None,
    ) -> Visit:
        """Open a page, wait until it shows a text, and take a screenshot.

        Args:
            url: The page.
            expects: A text that the finished page shows.
            headers: Sent with each request of the page.
            window: The size of the page.

        Raises:
            ApexError: The page does not show the text in time.
        """
        window = window or Window()
        place = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call(
            "Target.createTarget", {"url": "about:blank", "browserContextId": place}
        )["targetId"]
        session = self.call(
            "Target.attachToTarget", {"targetId": target, "flatten": True}
        )["sessionId"]
        try:
            return self._visit(session, url, expects, headers or {}, window)
        finally:
            with suppress(ApexError):
                self.call("Target.disposeBrowserContext", {"browserContextId": place})

    def _visit(
        self,
        session: str,
        url: str,
        expects: str,
        headers: Mapping[str, str],
        window: Window,
    ) -> Visit:
        size = {"width": window.width, "height": window.height}
        self.call(
            "Emulation.setDeviceMetricsOverride",
            {**size, "deviceScaleFactor": 1, "mobile": False},
            session,
        )
        self.call("Network.enable", {}, session)
        self.call("Network.setExtraHTTPHeaders", {"headers": dict(headers)}, session)
        refused = self.call("Page.navigate", {"url": url}, session).get("errorText")
        if refused:
            raise ApexError(f"{url} cannot be opened: {refused}.")
        self._await(session, url, expects)
        time.sleep(_SETTLE_SECONDS)
        paint = self._evaluate(session, _LARGEST_PAINT)
        shot = self.call("Page.captureScreenshot", {"format": "png"}, session)
        return Visit(
            base64.b64decode(shot["data"]),
            paint / 1000 if isinstance(paint, int | float) else None,
        )

    def _await(self, session: str, url: str, expects: str) -> None:
        deadline = time.monotonic() + _PAGE_SECONDS
        shows = _SHOWS.format(
            f"document.body.innerText.includes({json.dumps(expects, allow_nan=False)})"
        )
        while self._evaluate(session, shows) is not True:
            if time.monotonic() > deadline:
                raise ApexError(
                    f"{url} does not show {expects!r} within {_PAGE_SECONDS:g} s."
                )
            time.sleep(_PAUSE_SECONDS)

    def _evaluate(self, session: str, expression: str) -> object:
        answer = self.call(
            "Runtime.evaluate",
            {"expression": expression, "awaitPromise": True, "returnByValue": True},
            session,
        )
        result: object = answer["result"].get("value")
        return result

    def call(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        session: str | None = None,
        *,
        seconds: float = _PAGE_SECONDS,
    ) -> dict[str, Any]:
        """Run a command of the protocol, and return its result.

        Raises:
            ApexError: The browser refuses it, does not answer in time, or has exited.
        """
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": dict(parameters or {})}
        if session is not None:
            message["sessionId"] = session
        deadline = time.monotonic() + seconds
        try:
            self._input.write(json.dumps(message, allow_nan=False).encode() + b"\0")
            self._input.flush()
        except OSError as error:
            raise ApexError(_ENDED) from error
        while True:
            answer = self._next(deadline)
            # Other messages are events, which are not needed.
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise ApexError(f"Chromium refuses {method}: {answer['error']['message']}.")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = max(deadline - time.monotonic(), 0.0)
            if not select.select([self._output], [], [], left)[0]:
                raise ApexError("Chromium does not answer in time.")
            data = os.read(self._output.fileno(), 1 << 16)
            if not data:
                raise ApexError(_ENDED)
            self._read += data
        message, _, self._read = self._read.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer


_ENDED = "Chromium exited; it may lack memory, permissions, or a library."


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the browser and all its processes."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    with suppress(subprocess.TimeoutExpired):
        # With closed pipes, the browser exits and cleans up by itself.
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
