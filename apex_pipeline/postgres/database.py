"""Connect to Postgres: wait for it, limit every statement, translate every error once.

Works behind a transaction pooler such as Neon's: nothing is prepared on the server, and
no setting outlives its transaction.
"""

import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import (
    DBAPIError,
    TimeoutError as NoConnectionFreeError,
)

from apex_pipeline.errors import ConfigError, DatabaseUnavailableError
from apex_pipeline.postgres.connection_pool import ConnectionPool
from apex_pipeline.postgres.interruptible_work import run_interruptible
from apex_pipeline.postgres.lock_holders import find_holders
from apex_pipeline.postgres.loopback import guards
from apex_pipeline.postgres.postgres_errors import (
    connection_refused,
    is_worth_repeating,
    not_connected,
    reason,
    translated,
)
from apex_pipeline.postgres.time_limits import (
    STATEMENT_SECONDS,
    TCP_LIMITS,
    StatementLimits,
    TimeBudget,
    limits_of,
    seconds_for_an_address,
)
from apex_pipeline.postgres.timed_connection import TimedConnection
from apex_pipeline.settings.postgres_url import read_postgres_url, shown_address

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_Given = ParamSpec("_Given")

_FIRST_PAUSE = 0.1
_ATTEMPTS = 5
_LOOK_SECONDS = 2.0


class Database:
    """A Postgres database that may be suspended, behind a pooler, or briefly down.

    Attributes:
        address: Hosts, ports and name of the database, without secrets.
    """

    def __init__(
        self,
        url: str,
        *,
        wait_seconds: float = 30.0,
        statement_seconds: float = STATEMENT_SECONDS,
        application_name: str,
        variable: str = "DATABASE_URL",
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            url: A URL for `read_postgres_url`.
            wait_seconds: How long to wait for a server that accepts no connections,
                and for a free connection of this process.
            statement_seconds: The longest time for one statement.
            application_name: The name of this process on the server.
            variable: The variable that holds the URL, for messages.

        Raises:
            ConfigError: The URL does not name a Postgres database.
        """
        self._variable = variable
        given = read_postgres_url(url, variable)
        self.address = shown_address(given)
        self._wait_seconds = wait_seconds
        self._statement_seconds = statement_seconds
        self._budget = TimeBudget(statement_seconds)
        self._is_given_up = False
        self._parameters: dict[str, Any] = {
            **TCP_LIMITS,
            # A pooler gives each transaction another server connection.
            "prepare_threshold": None,
            # A cluster that was created without a locale is SQL_ASCII, and psycopg then
            # reads text as bytes.
            "client_encoding": "utf8",
            "application_name": application_name,
            **guards(given, psycopg.pq.version()),
            **given,
        }
        self._pool = ConnectionPool(self.connect, wait_seconds=wait_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all pooled connections: idle ones now, others when they become idle."""
        self._pool.close()

    def spend(self, seconds: float) -> None:
        """Limit the total time of all statements from now on; see `TimeBudget`."""
        self._budget = TimeBudget(self._statement_seconds, seconds)

    def give_up(self) -> None:
        """End all running statements at once, from another thread."""
        self._is_given_up = True

    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run work whose threads use this database, until it ends or a signal comes."""
        return run_interruptible(work, self.give_up)

    def connect(self) -> TimedConnection:
        """Open a connection that the caller owns, waiting for a suspended server.

        Each wait on it ends after the time limit of a statement. The server knows that
        limit only in transactions that `begin` opens.

        Raises:
            DatabaseUnavailableError: The server did not answer in time.
            DatabaseError: The server refuses the connection.
        """
        deadline = time.monotonic() + self._budget.connecting(self._wait_seconds)
        pause = _FIRST_PAUSE
        while True:
            try:
                connection = self._connect_once(deadline - time.monotonic())
            except psycopg.ProgrammingError as error:
                raise ConfigError(f"{self._variable}: {reason(error)}.") from error
            except psycopg.OperationalError as error:
                refused = connection_refused(error, self.address, self._variable)
                if refused is not None:
                    raise refused from error
                if self._is_given_up or time.monotonic() + pause > deadline:
                    raise not_connected(error, self.address) from error
                if pause == _FIRST_PAUSE:
                    logger.info(
                        "waiting for postgres at %s: %s", self.address, reason(error)
                    )
            else:
                connection.find_holders = self._find_holders
                return connection
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    @contextmanager
    def session(
        self, statement_seconds: float | None = None
    ) -> Iterator[TimedConnection]:
        """A connection of its own in one transaction, which an error rolls back.

        Args:
            statement_seconds: The longest time for one statement, if not that of the
                budget. Locks are waited for within the budget all the same.

        Raises:
            DatabaseError: A subclass that fits the remedy, also for the caller's
                statements.
        """
        with self.translated(), self.connect() as connection:
            connection.autocommit = True
            limits = self._budget.limits()
            connection.begin(
                StatementLimits(statement_seconds or limits.statement, limits.lock)
            )
            yield connection

    def transact(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        """Run *work* in one transaction, within the budget.

        A transaction that Postgres rolled back because of others, for example after a
        deadlock, is retried.

        Args:
            work: The work; it may use only the given connection.
            repeatable: Whether running it twice is harmless. Then it is retried once if
                the connection is lost.

        Raises:
            DatabaseError: A subclass that fits the remedy.
        """
        with self.translated():
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return self._once(work)
                except DBAPIError as error:
                    if attempt == _ATTEMPTS or not is_worth_repeating(
                        error.orig, is_repeatable=repeatable, is_first=attempt == 1
                    ):
                        raise
                # A random pause keeps it from meeting the same transaction again.
                time.sleep(random.uniform(0, _FIRST_PAUSE * 2**attempt))  # noqa: S311
        raise AssertionError("the last attempt returns or raises")

    def ask(
        self,
        work: Callable[Concatenate[Connection, _Given], _Result],
        *given: _Given.args,
        **named: _Given.kwargs,
    ) -> _Result:
        """Run *work* in a transaction of its own; doing it twice must be harmless.

        Args:
            work: A function that takes a connection first.
            given: Its other arguments.
            named: Likewise.

        Raises:
            DatabaseError: As `transact`.
        """
        return self.transact(
            lambda connection: work(connection, *given, **named), repeatable=True
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate the driver's errors into ours, except those of programming bugs."""
        try:
            yield
        except (DBAPIError, psycopg.Error) as error:
            origin = error.orig if isinstance(error, DBAPIError) else error
            ours = isinstance(origin, psycopg.Error) and translated(
                origin, self.address, self._variable
            )
            if not ours:
                raise
            raise ours from error
        except NoConnectionFreeError as error:
            raise DatabaseUnavailableError(
                f"All connections of this process to Postgres at {self.address} are "
                f"busy, and none became free within {self._wait_seconds:g} s. Find out "
                "what keeps the server busy, then retry."
            ) from error

    def _connect_once(self, patience: float) -> TimedConnection:
        seconds = seconds_for_an_address(patience)
        given = str(self._parameters.get("connect_timeout", ""))
        if given.isdecimal() and int(given) > 0:
            seconds = min(seconds, int(given))
        connection = TimedConnection.connect(
            **self._parameters | {"connect_timeout": seconds}
        )
        connection.limits = limits_of(self._budget.limits().statement)
        connection.is_given_up = lambda: self._is_given_up
        return connection

    def _once(self, work: Callable[[Connection], _Result]) -> _Result:
        with self._pool.begun(
            self._budget.limits, is_given_up=lambda: self._is_given_up
        ) as connection:
            result = work(connection)
            connection.commit()
            return result

    def _find_holders(self) -> str:
        try:
            with self._connect_once(_LOOK_SECONDS) as connection:
                connection.autocommit = True
                connection.begin(limits_of(_LOOK_SECONDS))
                return find_holders(connection)
        except psycopg.Error as error:
            logger.debug("cannot query the holders of the lock: %s", error)
            return ""
