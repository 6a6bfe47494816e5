"""Check the health of a child repeatedly, without blocking."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from apex_pipeline.local import background

_AFTER_A_BAD_ANSWER_SECONDS = 2.0


class Checkup:
    """The health of one process since its start.

    Attributes:
        is_well: Whether the last answer was good.
    """

    def __init__(self, ask: Callable[[], bool | None]) -> None:
        """Prepare the first check.

        Args:
            ask: Returns whether the process is healthy; None if something else prevents
                the check. It may hang, which counts as a bad answer.
        """
        self._ask = ask
        self._answer: Future[bool | None] | None = None
        self._asked_at = 0.0
        self._unwell_since: float | None = None
        self.is_well = False

    @property
    def seconds_unwell(self) -> float:
        """How long answers have been bad, or the last check has been running."""
        now = time.monotonic()
        open_since = now if self._answer is None else self._asked_at
        return now - min(open_since, self._unwell_since or now)

    def forgive(self) -> None:
        """Restart the count, because the process may have been suspended before."""
        self._unwell_since = None
        self._asked_at = time.monotonic()

    def step(self, *, every: float) -> None:
        """Take in a finished check, and start the next when it is due.

        Args:
            every: Seconds between checks while the answers are good.
        """
        now = time.monotonic()
        if self._answer is not None and self._answer.done():
            self._take(self._answer, now)
            self._answer = None
        wait = every if self.is_well else min(every, _AFTER_A_BAD_ANSWER_SECONDS)
        if self._answer is None and now >= self._asked_at + wait:
            self._answer, self._asked_at = background.start(self._ask), now

    def _take(self, question: Future[bool | None], now: float) -> None:
        answer = question.result()
        if answer is None:
            self._unwell_since = None
        elif answer:
            self._unwell_since, self.is_well = None, True
        else:
            self._unwell_since, self.is_well = self._unwell_since or now, False
