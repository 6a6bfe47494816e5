"""A connection to Postgres on which every wait ends.

Postgres itself ends a statement that takes too long, as long as it is reachable. If the
server is suspended or the network is broken, the client must give up: it tries to cancel
the statement on the server, and closes the connection.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import RowFactory, tuple_row

from apex_pipeline.postgres.time_limits import (
    STATEMENT_SECONDS,
    StatementLimits,
    limits_of,
)

_Result = TypeVar("_Result")

_CHECK_SECONDS = 0.1
_CANCEL_SECONDS = 1.5
_LOOK_AGAIN_SECONDS = 5.0
# Let the server time out first if it can: its answer says more.
_SLACK_SECONDS = 1.0
# BEGIN does no work, so a slow one means that the idle connection is dead.
_BEGIN_SECONDS = 20.0


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time, or the wait was given up."""


class HeldLockError(errors.LockNotAvailable):
    """Another session held a lock for longer than we could wait.

    Attributes:
        holders: The holders, as far as our role may see them; may be empty.
    """

    def __init__(self, message: str, holders: str) -> None:
        super().__init__(message)
        self.holders = holders


class TimedConnection(psycopg.Connection[Any]):
    """A connection whose every wait ends.

    Attributes:
        limits: Limits for each statement from now on. The client always applies them;
            the server does so inside transactions that `begin` has opened.
        is_given_up: Whether the owner has given up all running statements.
        find_holders: Names the holders of the lock that we wait for, using another
            connection.
    """

    def __init__(
        self, pgconn: PGconn, row_factory: RowFactory[Any] = tuple_row
    ) -> None:
        """Set default limits, which the owner may replace."""
        super().__init__(pgconn, row_factory)
        self.limits: StatementLimits = limits_of(STATEMENT_SECONDS)
        self.is_given_up: Callable[[], bool] = lambda: False
        self.find_holders: Callable[[], str] = str

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """End the transaction and close, also where psycopg's COMMIT fails."""
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        finally:
            self.close()

    def begin(self, limits: StatementLimits) -> None:
        """Open a transaction with limits, in one round trip like a plain BEGIN.

        The connection must be in autocommit.
        """
        self.limits = limits_of(min(limits.statement, _BEGIN_SECONDS))
        self.execute(f"BEGIN; {limits.settings}".encode())
        self.limits = limits

    def wait(
        self,
        gen: PQGen[_Result],
        interval: float = _CHECK_SECONDS,
        timeout: float | None = None,
    ) -> _Result:
        """Wait like psycopg, but within the limits."""
        watch = _Watch(self)
        try:
            if timeout is not None:
                return super().wait(gen, interval, timeout)
            return super().wait(watch.over(gen), interval)
        except errors.LockNotAvailable as error:
            raise HeldLockError(str(error), watch.holders) from error
        except BaseException as error:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.abandon()
            if isinstance(error, NoAnswerError) and watch.holders:
                raise HeldLockError(str(error), watch.holders) from error
            raise

    def abandon(self) -> None:
        """Cancel the statement on the server, and close the connection."""
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=_CANCEL_SECONDS)
        self.close()


class _Watch:
    """Applies the limits while waiting for one answer."""

    def __init__(self, connection: TimedConnection) -> None:
        self._connection = connection
        limits = connection.limits
        began = time.monotonic()
        self._seconds = limits.statement
        self._ends_at = began + limits.statement + _SLACK_SECONDS
        # Shortly before the server ends the wait, after which the holders are unknown.
        self._looks_at = began + limits.lock - min(1.0, limits.lock / 3)
        self.holders = ""

    def over(self, gen: PQGen[_Result]) -> PQGen[_Result]:
        ready: Any = None
        while True:
            try:
                state = gen.send(ready)
            except StopIteration as end:
                result: _Result = end.value
                return result
            ready = yield state
            self._check(is_silent=not ready)

    def _check(self, *, is_silent: bool) -> None:
        now = time.monotonic()
        if is_silent and self._connection.is_given_up():
            raise NoAnswerError("it was given up")
        if now > self._looks_at:
            self._looks_at = now + _LOOK_AGAIN_SECONDS
            self.holders = self._connection.find_holders() or self.holders
        if now > self._ends_at:
            raise NoAnswerError(f"no answer within {self._seconds:.3g} s")
