"""Run asyncio code on a clock that jumps to the next timer instead of waiting."""

import asyncio
import selectors
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")


class _JumpingSelector(selectors.DefaultSelector):
    """Advances the clock by what the loop would sleep; there is no real input."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never comes")
        self.now += max(timeout, 0.0)
        return []


class _AtOnce(ThreadPoolExecutor):
    """Runs what would go to a thread at once: it takes no simulated time."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done = super().submit(fn, *args, **kwargs)
        wait([done])
        return done


class SimulatedTime:
    """`time.monotonic` and asyncio on one simulated clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._selector = _JumpingSelector()
        real, ours = time.monotonic, threading.get_ident()
        # A server of the tests in another thread would wait for a moment of our clock.
        monkeypatch.setattr(
            time,
            "monotonic",
            lambda: self._selector.now if threading.get_ident() == ours else real(),
        )

    @property
    def now(self) -> float:
        return self._selector.now

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        loop = asyncio.SelectorEventLoop(self._selector)
        loop.set_default_executor(_AtOnce())
        try:
            return loop.run_until_complete(work)
        finally:
            loop.close()
