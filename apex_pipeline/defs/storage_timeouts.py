"""A timeout on each answer of Dagster's storage, for interactive commands.

dagster-postgres uses psycopg2, which waits inside libpq: for ever if the server hangs,
and without reacting to Ctrl-C. `connect_timeout` and TCP timeouts do not help, because
the kernel of a hung server still accepts and acknowledges connections.
"""

import select
import threading
import time
from contextlib import suppress

import psycopg2
from psycopg2 import OperationalError, extensions

from apex_pipeline.errors import DatabaseUnavailableError

PATIENCE_SECONDS = 20.0
"""Timeout for one answer; the storage's statements normally take milliseconds."""

# After a timeout Dagster still tries to store the failure, and then the failure to
# store it. You wait for all of these attempts, so they must be short.
_ONCE_GIVEN_UP_SECONDS = 1.0
_CANCEL_SECONDS = 1.5

_EVENTS = {
    extensions.POLL_READ: select.POLLIN,
    extensions.POLL_WRITE: select.POLLOUT,
}


def bound_storage(seconds: float = PATIENCE_SECONDS) -> None:
    """Make psycopg2 wait in Python, where Ctrl-C works, and only for a limited time.

    Applies to the whole process from now on. A query to a storage that hangs raises
    `DatabaseUnavailableError`; the server, if it can be reached, is asked to cancel it.

    Args:
        seconds: Timeout for each answer. After one timeout it drops to a second, until
            the storage answers again.
    """
    extensions.set_wait_callback(_Patience(seconds))


class _Patience:
    """Wait callback for psycopg2, with a timeout."""

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
                _cancel(connection)
                raise DatabaseUnavailableError(
                    "Dagster's storage hangs: it accepts connections but does not answer. "
                    "Restart the Postgres of DAGSTER_POSTGRES_URL and check its log and "
                    "disk."
                )
        self._left = self._seconds


def _cancel(connection: extensions.connection) -> None:
    """Cancel what the server does for us, or else it goes on when we have gone."""

    def cancel() -> None:
        with suppress(psycopg2.Error):
            connection.cancel()

    # libpq waits for the end of the request without a limit.
    request = threading.Thread(target=cancel, daemon=True)
    request.start()
    request.join(_CANCEL_SECONDS)
