"""Pace requests by what Dataverse's answers say about its limits.

Dataverse limits each application user on each web server to 6 000 requests and
1 200 seconds of execution in a sliding window of 300 seconds, and to 52 requests at
once (Microsoft Learn, "Service protection API limits"). It does not say how many servers
there are, or whether an environment has other limits. Each answer carries the budget
left on the server that sent it. So the pacer relies on the answers; if they carry
nothing, it learns the budget from the first refusal.

Nothing here reads a clock or sleeps: every method takes the time in seconds, which must
only grow. The window outlives a run of the pipeline, hence `snapshot`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

from apex_pipeline.dataverse.window_budget import RESERVE, WindowBudget

MAX_CONCURRENCY = 52
DEFAULT_CONCURRENCY = 4

_PROBE_SECONDS = 15.0

_SOONEST = 0.75
"""A request may end after this share of the mean time; a few do sooner."""

_FRESH_SECONDS = 900.0
"""A run starts at the last run's concurrency if that ended so recently."""


class Facet(StrEnum):
    """The limit that a refusal names, one of three."""

    REQUESTS = "requests"
    EXECUTION_TIME = "execution_time"
    CONCURRENCY = "concurrency"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The budget left according to one answer's headers; None if they do not say."""

    requests: float | None = None
    seconds: float | None = None
    concurrency_hint: int | None = None


NOTHING_SAID = Allowance()


class Pacer:
    """Decides when the next request may start.

    The first request goes alone, unless another process has just learned the pace. Then
    concurrency starts at the service's hint (`x-ms-dop-hint`), or at 4 without one; it
    never exceeds the hint, or 52. A 429 halves it and stops all requests until
    `Retry-After` is over. Each round of answers afterwards adds one.

    Args:
        most: The most concurrent requests, even if the service allows more.
        reserve: Share of each budget to leave to other clients.
    """

    def __init__(
        self, *, most: int = MAX_CONCURRENCY, reserve: float = RESERVE
    ) -> None:
        self._requests = WindowBudget(6000, reserve)
        self._seconds = WindowBudget(1200, reserve)
        self._in_flight = 0
        self._most = most
        self._ceiling = most
        self._concurrency = 1.0
        self._answered = False
        self._mean_seconds = 0.0
        self._open_at = -math.inf
        self._paused_by = ""
        self._is_paused_by_dataverse = True
        self._last_refusal = -math.inf
        self._last_answer = -math.inf

    @property
    def concurrency(self) -> int:
        """How many requests may run at once."""
        return int(self._concurrency)

    @property
    def in_flight(self) -> int:
        """How many requests are running."""
        return self._in_flight

    def paused_for(self, now: float) -> float:
        """Seconds until a pending `Retry-After` is over; 0 if there is none."""
        return max(self._open_at - now, 0.0)

    @property
    def paused_by(self) -> str:
        """Why the service asked for the longest pause; empty if it has not."""
        return self._paused_by

    @property
    def is_paused_by_dataverse(self) -> bool:
        """Whether Dataverse asked for that pause, and not a gateway in its place."""
        return self._is_paused_by_dataverse

    def wait(self, now: float, promised: int = 0) -> float:
        """Seconds to wait; 0 to start now, infinity to wait for a free slot.

        Args:
            now: The time.
            promised: Other requests that will start before this one.
        """
        if now < self._open_at:
            return self._open_at - now
        under_way = self._in_flight + promised + 1
        if under_way > self.concurrency:
            return math.inf
        mean = self._mean_seconds
        wait = max(
            self._requests.wait(now, 1, under_way),
            # The service refuses by what has ended, and adds this one when it ends.
            self._seconds.wait(now, mean, 0),
            self._seconds.wait(now, mean, under_way, spent_after=_SOONEST * mean),
        )
        if wait == 0.0 or under_way > 1:
            return wait
        # Nothing is running and the budget is used up. Now and then one request probes
        # whether that still holds, because the window may differ from the documents.
        if not (
            self._requests.can_probe(now, 1)
            and self._seconds.can_probe(now, self._mean_seconds)
        ):
            return wait
        return min(wait, max(self._last_answer + _PROBE_SECONDS - now, 0.0))

    def started(self, now: float) -> None:
        """Count a request that is being sent."""
        self._in_flight += 1
        self._requests.spend(now, 1)

    def finished(
        self, now: float, seconds: float, allowance: Allowance = NOTHING_SAID
    ) -> None:
        """Count an answer other than 429, or a lost one.

        Args:
            now: The time.
            seconds: How long the request took, measured here.
            allowance: The budget left, from the answer's headers.
        """
        self._in_flight -= 1
        self._last_answer = now
        self._seconds.spend(now, seconds)
        self._mean_seconds += (seconds - self._mean_seconds) * (
            0.2 if self._answered else 1.0
        )
        if allowance.requests is not None:
            self._requests.told(now, allowance.requests)
        if allowance.seconds is not None:
            self._seconds.told(now, allowance.seconds)
        self._follow(allowance.concurrency_hint)

    def throttled(
        self,
        now: float,
        retry_after: float,
        facet: Facet | None,
        reason: str = "",
        *,
        is_dataverses: bool = True,
    ) -> None:
        """Count a 429 or other pause, and stop requests for `retry_after` seconds.

        Answers to requests that were already running belong to the same refusal.
        """
        self._in_flight -= 1
        fresh = now >= self._open_at and now > self._last_refusal
        if now + retry_after >= self._open_at:
            self._open_at = now + retry_after
            self._paused_by = reason
            self._is_paused_by_dataverse = is_dataverses
        self._last_refusal = now
        if not fresh:
            return
        self._concurrency = max(self._concurrency / 2, 1.0)
        if facet is Facet.REQUESTS:
            self._requests.refused(now)
        elif facet is Facet.EXECUTION_TIME:
            self._seconds.refused(now)

    def snapshot(self, now: float) -> dict[str, object]:
        """State for the next process as JSON, with ages instead of times."""
        return {
            "requests": self._requests.snapshot(now),
            "seconds": self._seconds.snapshot(now),
            "hint": self._ceiling if self._answered else None,
            "concurrency": self.concurrency,
            "mean_seconds": self._mean_seconds,
            "paused_for": round(self.paused_for(now), 3),
            "paused_by": self._paused_by,
            "is_paused_by_dataverse": self._is_paused_by_dataverse,
        }

    def restore(self, now: float, saved: Mapping[str, object], age: float) -> None:
        """Restore the state that another process saved.

        Args:
            now: The time.
            saved: A snapshot.
            age: Seconds since the snapshot.
        """
        age = max(age, 0.0)
        for budget, name in ((self._requests, "requests"), (self._seconds, "seconds")):
            spent = saved.get(name)
            if isinstance(spent, list):
                budget.restore(now, [[then + age, amount] for then, amount in spent])
        paused_for = saved.get("paused_for")
        if isinstance(paused_for, int | float):
            self._open_at = now + paused_for - age
            self._paused_by = str(saved.get("paused_by") or "")
            self._is_paused_by_dataverse = bool(
                saved.get("is_paused_by_dataverse", True)
            )
        if age < _FRESH_SECONDS:
            self._resume(saved)

    def _resume(self, saved: Mapping[str, object]) -> None:
        """Start as if the first answer had come; nonsense is passed over."""
        hint, concurrency = saved.get("hint"), saved.get("concurrency")
        mean_seconds = saved.get("mean_seconds")
        if not (_is_size(hint) and _is_size(concurrency) and _is_size(mean_seconds)):
            return
        self._ceiling = min(int(hint), self._most)
        self._concurrency = min(float(concurrency), float(self._ceiling))
        self._mean_seconds = mean_seconds
        self._answered = True

    def _follow(self, hint: int | None) -> None:
        if hint is not None and hint > 0:
            self._ceiling = min(hint, self._most)
        if not self._answered:
            self._answered = True
            self._concurrency = float(
                min(DEFAULT_CONCURRENCY, self._most) if hint is None else self._ceiling
            )
        elif self._concurrency < self._ceiling:
            self._concurrency += 1 / self._concurrency
        self._concurrency = min(self._concurrency, float(self._ceiling))


def _is_size(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 < value < math.inf
