"""A bound on each wait for Dagster's storage, for commands that a person waits for.

dagster-postgres asks through psycopg2, which waits inside libpq: without end where a
server hangs, and deaf to Ctrl-C. `connect_timeout` and TCP's own limits do not end that,
since the kernel of a server that hangs goes on taking connections and acknowledging.
"""

import select
import time

from psycopg2 import OperationalError, extensions

from apex_pipeline.errors import DatabaseUnavailableError

PATIENCE_SECONDS = 20.0
"""For one answer; the storage's own statements take milliseconds."""

# Whoever was given up is asked again for the run's failure, and for the failure of
# writing that down; a person waits for all of it.
_ONCE_GIVEN_UP_SECONDS = 1.0

_EVENTS = {
    extensions.POLL_READ: select.POLLIN,
    extensions.POLL_WRITE: select.POLLOUT,
}


def bound_storage(seconds: float = PATIENCE_SECONDS) -> None:
    """Have psycopg2 wait in Python, where signals are heard, and not for ever.

    It holds for the whole process from now on; what asks a storage that hangs raises
    `DatabaseUnavailableError`.

    Args:
        seconds: Patience with each answer; with a storage that was given up, a second
            until it answers again.
    """
    extensions.set_wait_callback(_Patience(seconds))


class _Patience:
    """What psycopg2 calls to wait for an answer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds

    def __call__(self, connection: extensions.connection) -> None:
        began = time.monotonic()
        while (state := connection.poll()) != extensions.POLL_OK:
            if state not in _EVENTS:
                raise OperationalError(f"psycopg2 polls to {state}")
            poll = select.poll()
            poll.register(connection.fileno(), _EVENTS[state])
            left = max(began + self._left - time.monotonic(), 0.0)
            if not poll.poll(left * 1000):
                self._left = min(_ONCE_GIVEN_UP_SECONDS, self._seconds)
                raise DatabaseUnavailableError(
                    "Dagster's storage hangs: it takes connections, and does not answer. "
                    "Start the Postgres of DAGSTER_POSTGRES_URL again, and look at its "
                    "log and its disk."
                )
        self._left = self._seconds
