"""The one gate that every request of a process passes, kept by the pacer."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from apex_pipeline.dataverse.answers import (
    DEFAULT_RETRY_AFTER_SECONDS,
    allowance,
    facet,
)
from apex_pipeline.dataverse.pacing import NOTHING_SAID, Facet, Pacer
from apex_pipeline.errors import OutOfTimeError
from apex_pipeline.microsoft.http_answer import Answer

# Waiters look again at least this often, so that a deadline that is cut short is seen.
_LOOK_AGAIN_SECONDS = 0.5

_REASONS = {
    Facet.REQUESTS: "too many requests within five minutes",
    Facet.EXECUTION_TIME: "too much execution time within five minutes",
    Facet.CONCURRENCY: "too many requests at once",
}


class Deadline:
    """Until when a request may still begin; whoever holds it can end it early."""

    def __init__(
        self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._at = clock() + seconds
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        """Whether work was stopped: not even a retry may begin."""
        return self._is_cut

    def remaining(self) -> float:
        """Seconds left; negative when it is over."""
        return -math.inf if self._is_cut else self._at - self._clock()

    def cut(self) -> None:
        """End it now."""
        self._is_cut = True

    def before(self, seconds: float) -> "Deadline":
        """The same for what takes so long: its last moment to begin and end in time."""
        return _Earlier(self, seconds)


class _Earlier(Deadline):
    """A deadline that another one decides on, some seconds ahead of it."""

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
    """A place under the concurrency limit; the sender tells it what came back."""

    def __init__(self) -> None:
        self.answer: Answer | None = None


class Gate:
    """Lets requests through one by one, in step with what Dataverse allows."""

    def __init__(
        self, pacer: Pacer, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pacer = pacer
        self._clock = clock
        self._freed = asyncio.Condition()
        self._shut_seconds = 0.0

    @property
    def throttled_seconds(self) -> float:
        """How long the gate has been shut by `Retry-After` until now, in all."""
        return self._shut_seconds - self._pacer.paused_for(self._clock())

    @asynccontextmanager
    async def slot(self, deadline: Deadline, grace: float = 0.0) -> AsyncIterator[Slot]:
        """Wait for a place, and give it back with the answer's news.

        Raises:
            OutOfTimeError: No place can be had until `grace` seconds after the
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
        retry_after = None if answer is None else _asked_pause(answer)
        if answer is None or retry_after is None:
            told = NOTHING_SAID if answer is None else allowance(answer)
            self._pacer.finished(now, seconds, told)
            return
        shut = self._pacer.paused_for(now)
        limit = facet(answer)
        reason = _REASONS[limit] if limit else f"HTTP {answer.status}"
        # Zero would have us knock without a pause.
        self._pacer.throttled(now, max(retry_after, 1.0), limit, reason)
        self._shut_seconds += self._pacer.paused_for(now) - shut

    def _no_room(self, now: float) -> OutOfTimeError:
        paused = self._pacer.paused_for(now)
        if paused <= 0:
            return OutOfTimeError("The time given is over.")
        retry_at = datetime.now(UTC) + timedelta(seconds=paused)
        reason = f" ({self._pacer.paused_by})" if self._pacer.paused_by else ""
        return OutOfTimeError(
            f"Dataverse throttles this application{reason} and takes requests again at "
            f"{retry_at:%H:%M:%S} UTC.",
            retry_at=retry_at,
        )


def _asked_pause(answer: Answer) -> float | None:
    """Seconds that the service wants no request for; None if it did not ask for that.

    A 429 asks for it in any case; a 503, by RFC 9110, if it says for how long.
    """
    if answer.status not in {429, 503}:
        return None
    asked = answer.retry_after(datetime.now(UTC))
    if asked is None and answer.status == 429:
        return DEFAULT_RETRY_AFTER_SECONDS
    return asked
