"""One read serves everybody who looks: shared, refreshed behind them, kept when it fails.

Nothing is read while nobody asks. Among those who ask, one starts the read and all
share its outcome; while it goes on they get the value before it. A read that failed is
tried again ever more seldom, and the last good value stays.
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
class Timing:
    """How long a value is good for, and how failures are spaced; seconds.

    Attributes:
        fresh: A value is served as it is until it is so old.
        stale: For so long after that it is served while a new one is read; then who
            asks waits for the new one.
        patience: Who has to wait, though there is an old value, waits so long.
        first_patience: Who has to wait because there is none yet, waits so long.
        limit: A read may take so long.
        first_pause: Nothing is read for so long after a failure, and twice as long
            after each further one.
        longest_pause: The bound of that.
    """

    # A viewer who asks every ten seconds sees what is new within those ten: what is read
    # then shows after a second question (`documents`).
    fresh: float = 9.1
    stale: float = 50.9
    patience: float = 3.0
    # The answer is promised within ten seconds.
    first_patience: float = 9.0
    limit: float = 15.0
    first_pause: float = 10.0
    longest_pause: float = 120.0


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value]):
    """What there is to show.

    Attributes:
        value: The last one read; None if none was, ever.
        age: Seconds since its read began.
        failure: Why the last read failed; None if it did not.
        under_way: Seconds since the read of a new one began; None if there is none.
        due_in: Seconds until who asks has a new one read.
    """

    value: Value | None
    age: float | None
    failure: ApexError | None
    under_way: float | None
    due_in: float = 0.0

    @property
    def current(self) -> Value | None:
        """The value if the last read succeeded: what is true now, not what once was."""
        return self.value if self.failure is None else None


class Shared(Generic[Value]):
    """A value that is read for all at once; for one event loop."""

    def __init__(
        self,
        read: Callable[[], Awaitable[Value]],
        timing: Timing,
        *,
        source: str,
        late: Callable[[str], ApexError] = TransientError,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Keep how to read; nothing is read yet.

        Args:
            read: Reads the value, or raises what `errors` sorts.
            timing: How often.
            source: Who is asked, for the failure of a read that takes too long.
            late: Makes that failure.
            clock: Monotonic seconds.
            now: The time of day, for failures that say until when to wait.
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
        self._flight: asyncio.Task[None] | None = None

    async def get(self) -> Reading[Value]:
        """The value, waiting for it only where there is none to show meanwhile."""
        age = self._age()
        if self._flight is None and self._due_in() <= 0:
            self._begun_at = self._clock()
            self._flight = asyncio.create_task(self._refresh())
        flight = self._flight
        if flight is not None and self._is_worth_waiting(age):
            # Whoever hangs up meanwhile does not take the read away from the others.
            timing = self._timing
            patience = timing.first_patience if age is None else timing.patience
            done, _ = await asyncio.wait({flight}, timeout=patience)
            for each in done:
                each.result()
        return self.peek()

    def peek(self) -> Reading[Value]:
        """What there is, without asking for more."""
        return Reading(
            self._value,
            self._age(),
            self._failure,
            None if self._flight is None else self._clock() - self._begun_at,
            self._due_in(),
        )

    async def close(self) -> None:
        """Break off a read that is under way."""
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

    def _is_worth_waiting(self, age: float | None) -> bool:
        """Not where the last read failed: whoever asks should not wait for a dead end."""
        if self._failure is not None:
            return False
        return age is None or age >= self._timing.fresh + self._timing.stale

    async def _refresh(self) -> None:
        # Whatever becomes of it, a slip of ours included, is not repeated at once.
        self._not_before = self._clock() + self._timing.first_pause
        try:
            async with asyncio.timeout(self._timing.limit):
                value = await self._read()
        except TimeoutError:
            seconds = f"{self._timing.limit:g} s"
            self._failed(self._late(f"{self._source} gave no answer in {seconds}."))
        except ApexError as error:
            self._failed(error)
        else:
            self._value, self._read_at = value, self._begun_at
            self._failure, self._failures = None, 0
            self._not_before = -math.inf
        finally:
            self._flight = None

    def _failed(self, failure: ApexError) -> None:
        # Viewers read what is wrong with the configuration; the rest only the log tells.
        is_news = str(failure) != str(self._failure)
        if is_news and not isinstance(failure, ConfigError):
            logger.warning("%s cannot be read: %s", self._source, failure)
        self._failure = failure
        self._failures += 1
        doubled = self._timing.first_pause * 2.0 ** min(self._failures - 1, 32)
        pause = min(doubled, self._timing.longest_pause)
        if isinstance(failure, OutOfTimeError) and failure.retry_at is not None:
            pause = max(pause, (failure.retry_at - self._now()).total_seconds())
        self._not_before = self._clock() + pause
