"""Measure how long answers take, per route, as a Prometheus histogram."""

import time
from collections.abc import Iterable

from prometheus_client import Histogram
from prometheus_client.core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Upper bounds in seconds. Targets: 0.05 for an answer of the API, 2.5 for the page."""

_METHODS = {"GET", "HEAD", "POST", "OPTIONS"}
_OTHER = "other"


class Latencies:
    """Counts of answers by method, route, status and duration.

    The number of series is bounded: all paths that are not routes count as one.
    """

    def __init__(self) -> None:
        self._routes: frozenset[str] = frozenset()
        self._seconds = Histogram(
            "apex_http_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route", "status"),
            buckets=_BUCKETS,
            registry=None,
        )

    def know(self, routes: Iterable[str]) -> None:
        """Count these paths separately."""
        self._routes = frozenset(routes)

    def note(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        labels = (method if method in _METHODS else _OTHER, self._route(path), status)
        self._seconds.labels(*labels).observe(seconds)

    def family(self) -> Metric:
        """The histogram; the library's times of creation are left out."""
        (family,) = self._seconds.collect()
        family.samples = [
            each for each in family.samples if not each.name.endswith("_created")
        ]
        return family

    def _route(self, path: str) -> str:
        if path in self._routes:
            return path
        return "/static" if path.startswith("/static/") else _OTHER


class Measured:
    """Measures each request, from its arrival to the last byte of its answer."""

    def __init__(self, app: ASGIApp, latencies: Latencies) -> None:
        self._app = app
        self._latencies = latencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        # A client that disconnects, or an unexpected error, leaves no status.
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            seconds = time.perf_counter() - begun
            self._latencies.note(scope["method"], scope["path"], status, seconds)
