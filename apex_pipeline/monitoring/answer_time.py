"""When the answer of a command has to be there: within ten seconds of its start."""

import time

# The rest is for printing it and for the end of the process.
_SECONDS = 8.5

# For the answer itself, however long a busy machine took to load the program.
_LEAST_SECONDS = 4.0


def answer_by(began: float | None = None, *, least: float = _LEAST_SECONDS) -> float:
    """The end of the time for an answer, by the monotonic clock.

    Args:
        began: When the process began to load; by default now.
        least: Seconds that are left in any case.
    """
    now = time.monotonic()
    return max((now if began is None else began) + _SECONDS, now + least)
