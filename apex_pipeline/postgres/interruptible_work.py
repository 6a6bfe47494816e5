"""Run asynchronous work whose threads use Postgres, so that a signal ends it for sure."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

_Result = TypeVar("_Result")
_Handler = Callable[[int, Any], Any]


def run_interruptible(
    work: Coroutine[Any, Any, _Result], give_up: Callable[[], None]
) -> _Result:
    """Run work to its end, or until SIGINT or SIGTERM, if the process handles them.

    Dagster's handlers raise. Python ignores an exception that is raised while it runs a
    finalizer or a weak reference's callback, and an event loop only logs one that is
    raised in a callback of its own. So here a signal cancels the work; the handler is
    called after that.

    Args:
        work: What to run.
        give_up: Ends what the work's threads wait for. An event loop waits for its threads
            before it ends, so a process that waits for Postgres would not react.
    """
    handlers = _handlers()
    arrived: list[int] = []
    try:
        return asyncio.run(_cancelled_by_signals(work, give_up, handlers, arrived))
    finally:
        if arrived:
            handlers[arrived[0]](arrived[0], None)


def _handlers() -> Mapping[int, _Handler]:
    """The handlers that may raise. The event loop replaces Python's own for SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    set_up = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    return {
        number: handler
        for number, handler in set_up.items()
        if callable(handler) and handler is not signal.default_int_handler
    }


async def _cancelled_by_signals(
    work: Coroutine[Any, Any, _Result],
    give_up: Callable[[], None],
    handlers: Mapping[int, _Handler],
    arrived: list[int],
) -> _Result:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel(number: int, _: object) -> None:
        arrived.append(number)
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    for number in handlers:
        signal.signal(number, cancel)
    try:
        return await work
    except BaseException as end:
        if not isinstance(end, Exception):
            give_up()
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
