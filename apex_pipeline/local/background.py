"""Run a call in its own thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def start(call: Callable[[], _Result]) -> Future[_Result]:
    """Start a call; the future gets its result or its error.

    Unlike a pool's thread, a call that hangs does not delay the end of the process.
    """
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - result() raises it again
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome
