"""The three service protection limits, per user and per web server.

Figures and messages are from Microsoft Learn, "Service protection API limits". What it
leaves open is chosen here: a refused request does not count towards the window, but
each one sent before Retry-After is over makes the wait longer by a fixed step; the
wait after the concurrency limit is fixed.

Pure: time is handed in.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace

from apex_pipeline.emulator.web_api_errors import WebApiError


@dataclass(frozen=True, slots=True)
class UserLimits:
    """How much one user may ask of one web server.

    Attributes:
        requests: Within the window.
        execution_seconds: Combined, within the window.
        concurrent: At one time.
        window_seconds: Length of the sliding window.
        shortest_wait_seconds: Least Retry-After once a window limit is exceeded.
        concurrency_wait_seconds: Retry-After of the concurrency limit.
        growth_seconds: What each request sent too early adds to the wait.
    """

    requests: int = 6000
    execution_seconds: float = 1200
    concurrent: int = 52
    window_seconds: float = 300
    shortest_wait_seconds: float = 5
    concurrency_wait_seconds: float = 2
    growth_seconds: float = 1


@dataclass(slots=True)
class Window:
    """What one user did at one server lately."""

    arrivals: deque[float] = field(default_factory=deque)
    spent: deque[tuple[float, float]] = field(default_factory=deque)
    spent_seconds: float = 0
    running: int = 0
    blocked_until: float = 0
    blocked_by: WebApiError | None = None


class ServiceProtection:
    """Admits requests, or says how long to wait."""

    def __init__(self, limits: UserLimits) -> None:
        self.limits = limits
        self._windows: dict[tuple[str, int], Window] = {}

    def reset(self) -> None:
        """Forget the past; requests that run stay counted as running."""
        for window in self._windows.values():
            window.arrivals.clear()
            window.spent.clear()
            window.spent_seconds = window.blocked_until = 0

    def begin(self, user: str, server: int, now: float) -> None:
        """Count a request in."""
        limits = self.limits
        window = self._window(user, server, now)
        if window.blocked_by and now < window.blocked_until:
            window.blocked_until += limits.growth_seconds
            raise _throttled(window.blocked_by, window.blocked_until - now)
        if window.running >= limits.concurrent:
            raise _throttled(
                too_many_at_once(limits.concurrent), limits.concurrency_wait_seconds
            )
        if len(window.arrivals) >= limits.requests:
            wait = window.arrivals[0] + limits.window_seconds - now
            self._block(window, now, wait, too_many(limits))
        if window.spent_seconds > limits.execution_seconds:
            self._block(window, now, self._until_paid(window, now), too_long(limits))
        window.arrivals.append(now)
        window.running += 1

    def finish(self, user: str, server: int, now: float, seconds: float) -> None:
        """Count a request out, with the execution time that it cost."""
        window = self._window(user, server, now)
        window.running -= 1
        window.spent.append((now, seconds))
        window.spent_seconds += seconds

    def remaining(self, user: str, server: int, now: float) -> tuple[int, float]:
        """Requests and seconds left in the window."""
        window = self._window(user, server, now)
        return (
            max(0, self.limits.requests - len(window.arrivals)),
            max(0.0, self.limits.execution_seconds - window.spent_seconds),
        )

    def _window(self, user: str, server: int, now: float) -> Window:
        window = self._windows.setdefault((user, server), Window())
        oldest = now - self.limits.window_seconds
        while window.arrivals and window.arrivals[0] <= oldest:
            window.arrivals.popleft()
        while window.spent and window.spent[0][0] <= oldest:
            window.spent_seconds -= window.spent.popleft()[1]
        if not window.spent:
            window.spent_seconds = 0
        return window

    def _until_paid(self, window: Window, now: float) -> float:
        """When enough of the past has left the window."""
        excess = window.spent_seconds - self.limits.execution_seconds
        for at, seconds in window.spent:
            excess -= seconds
            if excess <= 0:
                return at + self.limits.window_seconds - now
        return self.limits.window_seconds

    def _block(
        self, window: Window, now: float, wait: float, error: WebApiError
    ) -> None:
        wait = max(wait, self.limits.shortest_wait_seconds)
        window.blocked_until = now + wait
        window.blocked_by = error
        raise _throttled(error, wait)


def too_many(limits: UserLimits) -> WebApiError:
    """The number of requests."""
    return _exceeded(
        "0x80072322",
        f"Number of requests exceeded the limit of {limits.requests} over time window of"
        f" {limits.window_seconds:.0f} seconds.",
    )


def too_long(limits: UserLimits) -> WebApiError:
    """Combined execution time; the two spaces are documented."""
    return _exceeded(
        "0x80072321",
        "Combined execution time of incoming requests exceeded limit of"
        f" {limits.execution_seconds * 1000:,.0f}  milliseconds over time window of"
        f" {limits.window_seconds:.0f} seconds. Decrease number of concurrent requests or"
        " reduce the duration of requests and try again later.",
    )


def too_many_at_once(concurrent: int) -> WebApiError:
    """Concurrent requests."""
    text = f"Number of concurrent requests exceeded the limit of {concurrent}."
    return _exceeded("0x80072326", text)


def _exceeded(code: str, text: str) -> WebApiError:
    return WebApiError(429, code, text)


def _throttled(error: WebApiError, wait: float) -> WebApiError:
    headers = {"Retry-After": str(max(1, math.ceil(wait)))}
    return replace(error, headers=headers)
