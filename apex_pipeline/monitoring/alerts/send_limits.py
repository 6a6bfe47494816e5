"""Bounds on the attempts, time and rate of sending one message."""

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
"""For all attempts and waits, besides the last answer; other messages are waiting."""

_FIRST_WAIT = 1.0
_HOUR = 3600.0

_Result = TypeVar("_Result")


def begun(call: Callable[[], _Result]) -> Future[_Result]:
    """Call in a daemon thread, which does not delay the end of the process."""
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  result() raises it again
            outcome.set_exception(error)

    threading.Thread(target=run, name="within", daemon=True).start()
    return outcome


def by(ends_at: float, outcome: Future[_Result], otherwise: _Result) -> _Result:
    """The outcome of a call, or a default if it takes too long.

    Args:
        ends_at: On the monotonic clock.
        outcome: From `begun`.
        otherwise: The default.
    """
    try:
        return outcome.result(max(ends_at - time.monotonic(), 0.0))
    except TimeoutError:
        return otherwise


def within(seconds: float, call: Callable[[], _Result]) -> _Result:
    """Call, and wait for the result at most this long.

    Socket timeouts hold for each address of a name and each part of an answer, so they
    do not bound a whole exchange. A call that times out continues unobserved in its
    thread; it needs limits that end it.

    Raises:
        TimeoutError: It took too long. It may still have its effect.
    """
    return begun(call).result(max(seconds, 0.0))


def until_taken(
    call: Callable[[], Answer],
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Retry 429 and 5xx within bounds, and return the first other answer.

    `Retry-After` is obeyed; a longer wait is left to the caller. A lost answer is not
    retried here, because the message may have been accepted.

    Raises:
        DeliveryError: It was refused each time; has the wait that was asked for.
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
    """Keeps a sender below limits that the other end does not publish.

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
        """Wait until the next message may be sent.

        Raises:
            DeliveryError: The hour's limit is reached.
        """
        now = self._now()
        if len(self._sent) == self._sent.maxlen and self._sent[0] > now - _HOUR:
            raise DeliveryError(
                f"the limit of {len(self._sent)} messages an hour is reached",
                retry_after=self._sent[0] + _HOUR - now,
            )
        turn = max(now, self._sent[-1] + self._apart) if self._sent else now
        self._sent.append(turn)
        if turn > now:
            self._sleep(turn - now)
