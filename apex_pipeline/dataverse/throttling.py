"""The gate that every request of a process passes, and that a 429 closes.

The pacer decides how many pass at once, and for how long the gate stays closed.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from apex_pipeline.dataverse.answers import asks_for_pause_itself
from apex_pipeline.dataverse.pacing import NOTHING_SAID, Pacer
from apex_pipeline.dataverse.throttle_headers import (
    allowance,
    asked_pause,
    facet,
    reason,
)
from apex_pipeline.errors import OutOfTimeError
from apex_pipeline.microsoft.http_answer import Answer

# Waiters wake at least this often, to notice a deadline that was cut short.
_LOOK_AGAIN_SECONDS = 0.5


class Deadline:
    """The time until which requests may start; any holder can end it early."""

    def __init__(
        self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._at = clock() + seconds
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        """Whether work was stopped; not even a retry may start."""
        return self._is_cut

    def remaining(self) -> float:
        """Seconds left; negative after the deadline."""
        return -math.inf if self._is_cut else self._at - self._clock()

    def cut(self) -> None:
        """End it now."""
        self._is_cut = True

    def before(self, seconds: float) -> "Deadline":
        """The latest start for work that takes this long and must end in time."""
        return _Earlier(self, seconds)


class _Earlier(Deadline):
    """A deadline a fixed number of seconds before another one."""

    def __init__(self, deadline: Deadline, seconds: float) -> None:
        self._deadline = deadline
        self._seconds = seconds

    @property
    def is_cut(self) -> bool:
        return self._deadline.is_cut

    def remaining(self) -> float:
        return self._deadline.remaining() - self._seconds

    def cut(self) -> None:
        self._deadline.cut()


class Slot:
    """A place under the concurrency limit; the sender stores the answer in it."""

    def __init__(self) -> None:
        self.answer: Answer | None = None


class Gate:
    """Lets requests through one by one, at the pace that Dataverse allows."""

    def __init__(
        self, pacer: Pacer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pacer = pacer
        self._clock = clock
        self._freed = asyncio.Condition()
        self._throttled_until = -math.inf
        self._throttled_seconds = 0.0

    @property
    def throttled_seconds(self) -> float:
        """Total seconds so far for which Dataverse's own `Retry-After` closed the gate."""
        return self._throttled_seconds - max(self._throttled_until - self._clock(), 0.0)

    @asynccontextmanager
    async def slot(self, deadline: Deadline, grace: float = 0.0) -> AsyncIterator[Slot]:
        """Wait for a slot; release it with what the answer says about the limits.

        Raises:
            OutOfTimeError: No slot becomes free within `grace` seconds after the
                deadline.
        """
        await self._enter(deadline, grace)
        slot = Slot()
        begun = self._clock()
        try:
            yield slot
        finally:
            self._leave(slot.answer, self._clock() - begun)
            async with self._freed:
                self._freed.notify_all()

    async def _enter(self, deadline: Deadline, grace: float) -> None:
        async with self._freed:
            while True:
                now = self._clock()
                wait = self._pacer.wait(now)
                remaining = deadline.remaining() + grace
                if remaining <= 0 or (math.isfinite(wait) and wait > remaining):
                    raise self._no_room(now)
                if wait == 0.0:
                    self._pacer.started(now)
                    return
                try:
                    async with asyncio.timeout(min(wait, _LOOK_AGAIN_SECONDS)):
                        await self._freed.wait()
                except TimeoutError:
                    continue

    def _leave(self, answer: Answer | None, seconds: float) -> None:
        now = self._clock()
        retry_after = None if answer is None else asked_pause(answer)
        if answer is None or retry_after is None:
            told = NOTHING_SAID if answer is None else allowance(answer)
            self._pacer.finished(now, seconds, told)
            return
        # Zero would have us knock without a pause.
        pause = max(retry_after, 1.0)
        is_own = asks_for_pause_itself(answer)
        self._pacer.throttled(
            now, pause, facet(answer), reason(answer), is_dataverses=is_own
        )
        if is_own:
            begin = max(self._throttled_until, now)
            self._throttled_until = max(begin, now + pause)
            self._throttled_seconds += self._throttled_until - begin

    def _no_room(self, now: float) -> OutOfTimeError:
        paused = self._pacer.paused_for(now)
        if paused <= 0:
            return OutOfTimeError("The time budget is used up.")
        retry_at = datetime.now(UTC) + timedelta(seconds=paused)
        cause = f" ({self._pacer.paused_by})" if self._pacer.paused_by else ""
        if not self._pacer.is_paused_by_dataverse:
            return OutOfTimeError(
                "Something between us and Dataverse wants no requests before "
                f"{retry_at:%H:%M:%S} UTC{cause}. Look at the proxies, gateways and "
                "firewalls on the way to Dataverse, and at their limits."
            )
        return OutOfTimeError(
            f"Dataverse throttles this application{cause} and accepts requests again "
            f"at {retry_at:%H:%M:%S} UTC.",
            retry_at=retry_at,
        )
