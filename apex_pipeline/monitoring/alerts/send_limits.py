"""How often and how long one message is tried before somebody else tries it again."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TypeVar

from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.monitoring.alerts.notice import DeliveryError

ATTEMPTS = 3
SECONDS = 15.0
"""For all attempts and waits together, besides the last answer: whoever sends has other
channels to serve."""

_FIRST_WAIT = 1.0
_HOUR = 3600.0

_Result = TypeVar("_Result")


def begun(call: Callable[[], _Result]) -> Future[_Result]:
    """Call in a thread of its own, which does not hold up the end of the process."""
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  result() raises it again
            outcome.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    return outcome


def by(ends_at: float, outcome: Future[_Result], otherwise: _Result) -> _Result:
    """The outcome of what was begun, or something else if that is not there in time.

    Args:
        ends_at: By the monotonic clock.
        outcome: From `begun`.
        otherwise: What to take in its place.
    """
    try:
        return outcome.result(max(ends_at - time.monotonic(), 0.0))
    except TimeoutError:
        return otherwise


def within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """Call, and wait for the outcome for so long at most.

    The time limits of sockets hold for each address of a name and for each piece of an
    answer, so they bound no conversation as a whole. What is not back in time goes on in
    a thread of its own, and nobody hears of it: it needs limits that end it.

    Raises:
        TimeoutError: It is not back in time. What it was to do may be done yet.
    """
    return begun(call).result(max(seconds, 0.0))


def until_taken(
    call: Callable[[], Answer],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Call until the answer is no passing refusal, within bounds; returns that answer.

    429 and 5xx are such refusals. `Retry-After` is obeyed: where it does not fit, the
    wait is left to the caller. A lost answer is not tried again here, since the message
    may have been taken.

    Raises:
        DeliveryError: It was refused for the whole time; says how long to wait, where
            the other end did.
    """
    deadline = now() + SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        answer = call()
        if answer.status != 429 and answer.status < 500:
            return answer
        asked = answer.retry_after(datetime.now(UTC))
        wait = _FIRST_WAIT * 2 ** (attempt - 1) if asked is None else asked
        if attempt == ATTEMPTS or now() + wait > deadline:
            raise DeliveryError(
                f"it answers HTTP {answer.status} for now", retry_after=asked
            )
        sleep(wait)
    raise AssertionError("the last attempt returns or raises")


class Pace:
    """Keeps a sender below limits that the other end does not announce.

    Args:
        apart: Seconds between two messages.
        per_hour: Messages in any 3 600 seconds.
    """

    def __init__(
        self,
        *,
        apart: float,
        per_hour: int,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._apart = apart
        self._now = now
        self._sleep = sleep
        self._sent: deque[float] = deque(maxlen=per_hour)

    def take(self) -> None:
        """Wait for the next message's turn.

        Raises:
            DeliveryError: There were as many in the last hour as there may be.
        """
        now = self._now()
        if len(self._sent) == self._sent.maxlen and self._sent[0] > now - _HOUR:
            raise DeliveryError(
                f"{len(self._sent)} messages went there within the hour, which is the "
                "most",
                retry_after=self._sent[0] + _HOUR - now,
            )
        turn = max(now, self._sent[-1] + self._apart) if self._sent else now
        self._sent.append(turn)
        if turn > now:
            self._sleep(turn - now)
