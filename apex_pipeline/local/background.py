"""Runs a call in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def start(call: Callable[[], _Result]) -> Future[_Result]:
    """Begin a call; its outcome, or its error, is in the future.

    It does not hold up the end of the process, as a pool's thread would: what hangs is
    left behind.
    """
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - result() raises it again
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome
