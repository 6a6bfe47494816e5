"""Supervise the children while waiting for something else, until a signal stops it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from apex_pipeline.local import background, processes
from apex_pipeline.local.supervisor import Supervisor

_STEP_SECONDS = 0.1

_Result = TypeVar("_Result")


class StopRequest(BaseException):
    """A signal requested the end; this is not an error."""


class Watch:
    """Supervises the children while waiting for something else."""

    def __init__(
        self,
        supervisor: Supervisor,
        asked_to_stop: Callable[[], str],
        say: Callable[[str], None],
    ) -> None:
        self.supervisor = supervisor
        self._say = say
        self.on_step: Callable[[], None] = lambda: None
        self._asked_to_stop = asked_to_stop

    def until(self, done: Callable[[], bool]) -> None:
        """Wait until a condition is true.

        Raises:
            StopRequest: A signal requested the end.
            StartError: A child does not start.
        """
        while not done():
            request = self._asked_to_stop()
            if request:
                self._say(f"Stopping ({request}) …")
                raise StopRequest
            self.supervisor.step()
            self.on_step()
            time.sleep(_STEP_SECONDS)

    def during(self, work: Callable[[], _Result]) -> _Result:
        """Run work in the background, and return its result or raise its error."""
        # Not in a pool, so stopping does not wait for a suspended database.
        outcome = background.start(work)
        self.until(outcome.done)
        return outcome.result()


@contextmanager
def obeying_signals() -> Iterator[Callable[[], str]]:
    """Treat SIGINT, SIGTERM and SIGHUP as requests to stop.

    SIGINT counts even if it was ignored, because a shell ignores it for background jobs.
    An ignored SIGHUP stays ignored: `nohup` does that on purpose.

    Yields:
        A function that returns the name of the last signal, or an empty text.
    """
    came = ""

    def note(number: int, _: FrameType | None) -> None:
        nonlocal came
        came = signal.Signals(number).name

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_helpers() -> Iterator[None]:
    """At the very end, stop processes that our own threads have started."""
    before = processes.descendants(os.getpid())
    try:
        yield
    finally:
        for process in processes.descendants(os.getpid()) - before:
            processes.end(process.pid, request=signal.SIGTERM, patience=2.0)
