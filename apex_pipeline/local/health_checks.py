"""Asks a child again and again whether it serves, without waiting for the answer."""

import time
from collections.abc import Callable
from concurrent.futures import Future

from apex_pipeline.local import background

_AFTER_A_BAD_ANSWER_SECONDS = 2.0


class Checkup:
    """The answers of one process, from its start on.

    Attributes:
        is_well: Whether the last answer was good.
    """

    def __init__(self, ask: Callable[[], bool | None]) -> None:
        """Prepare.

        Args:
            ask: Returns whether the process serves; None where something else prevents
                the question. It may hang, which counts as a bad answer.
        """
        self._ask = ask
        self._answer: Future[bool | None] | None = None
        self._asked_at = 0.0
        self._unwell_since: float | None = None
        self.is_well = False

    @property
    def seconds_unwell(self) -> float:
        """How long answers have been bad, or the last question has been open."""
        now = time.monotonic()
        open_since = now if self._answer is None else self._asked_at
        return now - min(open_since, self._unwell_since or now)

    def forgive(self) -> None:
        """Count from now: before, the process may have been suspended."""
        self._unwell_since = None
        self._asked_at = time.monotonic()

    def step(self, *, every: float) -> None:
        """Take an answer that has come, and ask again when it is time.

        Args:
            every: Seconds between questions, while the answers are good.
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
