"""Work beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(act: Callable[[], None], every: float) -> Iterator[None]:
    """Do something again and again in a thread, while the block runs."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(every):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
