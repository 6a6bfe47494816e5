"""Waits for a condition, with a bound that a busy machine keeps."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

SECONDS = 180
"""What takes a second on an idle machine has come by then on one with a load of 20."""


def wait_until(
    condition: Callable[[], object],
    process: subprocess.Popen[Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked every few milliseconds.
        process: Fails the test if it ends before.
        seconds: Fails the test after so long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "the condition did not come about"
        time.sleep(0.02)
