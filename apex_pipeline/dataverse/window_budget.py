"""What is left of one service protection limit in its sliding window.

Nothing here reads a clock: every method takes the time in seconds, which must only grow.
"""

import math
from collections import deque

WINDOW_SECONDS = 300.0

RESERVE = 0.02
"""Share of a limit that is left alone; it holds one request at least, as a probe."""

_BUCKET_SECONDS = 5.0
_LEAST_LEARNED = 0.02
_RECENT_ANSWERS = 8
_RECENT_SECONDS = 10.0


class WindowBudget:
    """One sliding-window limit: what we spent, and what the service says is left."""

    def __init__(self, documented: float, reserve: float) -> None:
        self._refill_per_second = documented / WINDOW_SECONDS
        self._reserve = reserve
        self._least = documented * _LEAST_LEARNED
        self._spent: deque[tuple[float, float]] = deque()
        self._total = 0.0
        # The amounts that entered and left the window since the start; they bring an
        # older answer up to date.
        self._entered = 0.0
        self._expired = 0.0
        self._told: deque[tuple[float, float, float, float]] = deque(
            maxlen=_RECENT_ANSWERS
        )
        self._learned = math.inf
        self._learned_at = 0.0

    def spend(self, now: float, amount: float) -> None:
        """Count what a request has used: one request, or its seconds."""
        self._slide(now)
        self._spent.append((now, amount))
        self._total += amount
        self._entered += amount

    def told(self, now: float, remaining: float) -> None:
        """Note what an answer says is left."""
        while self._told and self._told[0][0] < now - _RECENT_SECONDS:
            self._told.popleft()
        self._told.append((now, remaining, self._entered, self._expired))

    def refused(self, now: float) -> None:
        """Learn the budget from a refusal: what was spent so far, minus a margin.

        An early refusal is about what others spent. `Retry-After` says for how long, and
        a budget learned from it would stop us for a whole window.
        """
        self._slide(now)
        if not self._told and self._total >= self._least:
            self._learned = self._total * (1 - self._reserve)
            self._learned_at = now

    def can_probe(self, now: float, cost: float) -> bool:
        """Whether `cost` fits into the reserve."""
        self._slide(now)
        return self._left(now)[0] >= cost

    def wait(
        self, now: float, each: float, count: int, *, spent_after: float = 0.0
    ) -> float:
        """Seconds until `count` requests fit above the reserve; 0 if they fit now.

        Args:
            now: The time.
            each: What one request uses.
            count: How many requests have to fit.
            spent_after: When a request that starts now will be counted, in seconds. What
                leaves the window before that makes room for it.
        """
        self._slide(now)
        left, capacity = self._left(now)
        reserve = max(self._reserve * capacity, each)
        missing = count * each + reserve - left
        if missing <= 0 or math.isinf(left):
            return 0.0
        for at, amount in self._spent:
            missing -= amount
            if missing <= 0:
                wait = at + WINDOW_SECONDS - spent_after - now
                return max(wait, 0.001) if wait > 0 else 0.0
        # Other clients spent it; assume that it refills at the documented rate.
        return missing / self._refill_per_second

    def snapshot(self, now: float) -> list[list[float]]:
        """Amounts spent, as `[age in seconds, amount]`, summed per few seconds."""
        self._slide(now)
        buckets: dict[int, float] = {}
        for at, amount in self._spent:
            age = int((now - at) / _BUCKET_SECONDS)
            buckets[age] = buckets.get(age, 0.0) + amount
        return [
            [age * _BUCKET_SECONDS, round(amount, 3)]
            for age, amount in sorted(buckets.items(), reverse=True)
        ]

    def restore(self, now: float, spent: list[list[float]]) -> None:
        """Count what another process spent, as `snapshot` returned it."""
        for age, amount in sorted(spent, reverse=True):
            self.spend(now - age, amount)

    def _left(self, now: float) -> tuple[float, float]:
        """The budget left now, and the whole budget if known (else 0)."""
        if self._told:
            left = min(
                remaining
                - (self._entered - entered)
                + (self._expired - expired)
                + (0.0 if self._spent else (now - at) * self._refill_per_second)
                for at, remaining, entered, expired in self._told
            )
            return left, max(left, 0.0) + self._total
        if now - self._learned_at >= WINDOW_SECONDS:
            # A window without a refusal: try a little more.
            self._learned *= 1 + RESERVE
            self._learned_at = now
        return self._learned - self._total, 0.0

    def _slide(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - WINDOW_SECONDS:
            _, amount = self._spent.popleft()
            self._total -= amount
            self._expired += amount
