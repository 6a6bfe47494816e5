"""Share one read among all viewers, refresh it in the background, survive failures.

Nothing is read without a request. The first request starts the read, and all others
share its outcome; while it runs, they get the previous value. Failed reads are retried
with growing pauses, and the last good value stays.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from apex_pipeline.errors import ApexError, ConfigError, OutOfTimeError, TransientError

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CacheTiming:
    """How long a value stays valid, and how long to pause after failures; in seconds.

    Attributes:
        fresh: Up to this age, a value is served without a new read.
        stale: For this long after that, it is served while a new one is read; later
            requests wait for the new one.
        patience: The longest such wait.
        first_patience: The longest wait for the first value.
        limit: The longest time for a read.
        first_pause: The pause after a failure; it doubles with each further failure.
        longest_pause: The longest such pause. A failure that nobody saw for longer than
            this is not shown before a new read was tried.
    """

    # A viewer who polls every ten seconds sees new figures within those ten: a second
    # poll soon after gets the new value (see `api_documents`).
    fresh: float = 9.1
    stale: float = 50.9
    patience: float = 3.0
    # An answer is promised within ten seconds.
    first_patience: float = 9.0
    limit: float = 15.0
    first_pause: float = 10.0
    longest_pause: float = 120.0


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """A cached value and its state.

    Attributes:
        value: The last value; None if no read ever succeeded.
        age: Seconds since the start of its read.
        failure: Why the last read failed; None if it succeeded.
        under_way: Seconds since the running read started; None if none is running.
        due_in: Seconds until a request starts the next read.
    """

    value: Value | None
    age: float | None
    failure: ApexError | None
    under_way: float | None
    due_in: float = 0.0

    @property
    def current(self) -> Value | None:
        """The value if the last read succeeded; None rather than an outdated value."""
        return self.value if self.failure is None else None


class Shared(Generic[Value]):
    """A value that all requests of one event loop share."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Value]],
        timing: CacheTiming,
        *,
        source: str,
        late: Callable[[str], ApexError] = TransientError,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Prepare the cache; nothing is read yet.

        Args:
            read: Reads the value, or raises an `ApexError`.
            timing: How often to read.
            source: The name of the source, for the error of a read that times out.
            late: Creates that error.
            clock: Monotonic seconds.
            now: The time of day, for errors that say until when to wait.
        """
        self._read = read
        self._timing = timing
        self._source = source
        self._late = late
        self._clock = clock
        self._now = now
        self._value: Value | None = None
        self._read_at: float | None = None
        self._failure: ApexError | None = None
        self._failures = 0
        self._not_before = -math.inf
        self._begun_at = -math.inf
        self._looked_at = -math.inf
        self._flight: asyncio.Task[None] | None = None

    async def get(self) -> Reading[Value]:
        """The value; waits only if there is none to show meanwhile."""
        age = self._age()
        unseen = self._clock() - self._looked_at
        self._looked_at = self._clock()
        if self._flight is None and self._due_in() <= 0:
            self._begun_at = self._clock()
            self._flight = asyncio.create_task(self._refresh())
        flight = self._flight
        if flight is not None and self._is_worth_waiting(age, unseen):
            # A client that disconnects does not cancel the read for the others.
            timing = self._timing
            patience = timing.first_patience if age is None else timing.patience
            done, _ = await asyncio.wait({flight}, timeout=patience)
            for each in done:
                each.result()
        return self.peek()

    def peek(self) -> Reading[Value]:
        """The current state, without starting a read."""
        return Reading(
            self._value,
            self._age(),
            self._failure,
            None if self._flight is None else self._clock() - self._begun_at,
            self._due_in(),
        )

    async def close(self) -> None:
        """Cancel a running read."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait({self._flight})

    def _age(self) -> float | None:
        return None if self._read_at is None else self._clock() - self._read_at

    def _due_in(self) -> float:
        held = self._not_before - self._clock()
        age = self._age()
        if age is not None and self._failure is None:
            held = max(held, self._timing.fresh - age)
        return max(held, 0.0)

    def _is_worth_waiting(self, age: float | None, unseen: float) -> bool:
        """Whether to wait for the read.

        After a failure, which may repeat, only who looks once in a while waits.
        """
        if self._failure is not None:
            return unseen > self._timing.longest_pause
        return age is None or age >= self._timing.fresh + self._timing.stale

    async def _refresh(self) -> None:
        # Even after an unexpected error, the next read does not start at once.
        self._not_before = self._clock() + self._timing.first_pause
        try:
            async with asyncio.timeout(self._timing.limit):
                value = await self._read()
        except TimeoutError:
            seconds = f"{self._timing.limit:g} s"
            self._failed(self._late(f"{self._source} did not answer within {seconds}."))
        except ApexError as error:
            self._failed(error)
        else:
            self._value, self._read_at = value, self._begun_at
            self._failure, self._failures = None, 0
            self._not_before = -math.inf
        finally:
            self._flight = None

    def _failed(self, failure: ApexError) -> None:
        # Viewers see configuration errors themselves; other errors are only in the log.
        is_news = str(failure) != str(self._failure)
        if is_news and not isinstance(failure, ConfigError):
            logger.warning("cannot read %s: %s", self._source, failure)
        self._failure = failure
        self._failures += 1
        doubled = self._timing.first_pause * 2.0 ** min(self._failures - 1, 32)
        pause = min(doubled, self._timing.longest_pause)
        if isinstance(failure, OutOfTimeError) and failure.retry_at is not None:
            pause = max(pause, (failure.retry_at - self._now()).total_seconds())
        self._not_before = self._clock() + pause
