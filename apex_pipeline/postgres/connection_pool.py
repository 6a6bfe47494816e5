"""A pool of connections on which each use is one transaction with time limits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

import psycopg
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from apex_pipeline.postgres.time_limits import StatementLimits
from apex_pipeline.postgres.timed_connection import TimedConnection


class ConnectionPool:
    """Connections that are opened when needed, kept for the next use, and closed."""

    def __init__(
        self, connect: Callable[[], TimedConnection], *, wait_seconds: float
    ) -> None:
        """Prepare the pool; nothing is opened yet.

        Args:
            connect: Opens a connection.
            wait_seconds: How long to wait for a free connection.
        """
        self._connect = connect
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self._open,
            pool_size=2,
            max_overflow=2,
            pool_timeout=wait_seconds,
            # Saves a query for the type on the first connection.
            use_native_hstore=False,
            # A row's values do not belong in logs.
            hide_parameters=True,
        )
        # Those that are worth keeping. Replacing the engine's pool instead would leave
        # connections in use without an owner who closes them.
        self._kept: WeakSet[object] = WeakSet()
        event.listen(self._engine, "checkout", self._replace_unless_kept)
        event.listen(self._engine, "checkin", self._close_unless_kept)

    def close(self) -> None:
        """Close idle connections now, and those in use when they become idle."""
        self._kept = WeakSet()
        self._engine.dispose()

    @contextmanager
    def begun(
        self, limits: Callable[[], StatementLimits], *, is_given_up: Callable[[], bool]
    ) -> Iterator[Connection]:
        """A connection in a transaction, which an error rolls back.

        Args:
            limits: The limits of a statement that starts now.
            is_given_up: Whether not to replace a connection that was cut while idle.
        """
        with self._engine.connect() as connection:
            try:
                _begin(connection, limits())
            except psycopg.OperationalError as error:
                # It was cut while idle, and the other idle connections too.
                connection.invalidate(error)
                self._kept = WeakSet()
                if is_given_up():
                    raise
            else:
                yield connection
                return
        with self._engine.connect() as connection:
            _begin(connection, limits())
            yield connection

    def _open(self) -> TimedConnection:
        connection = self._connect()
        # Each transaction starts with its own limits.
        connection.autocommit = True
        self._kept.add(connection)
        return connection

    def _replace_unless_kept(
        self, driver: object, _record: ConnectionPoolEntry, _proxy: object
    ) -> None:
        if driver not in self._kept:
            # SQLAlchemy then opens another one in its place.
            raise DisconnectionError

    def _close_unless_kept(self, driver: object, record: ConnectionPoolEntry) -> None:
        if driver not in self._kept:
            record.invalidate()


def _begin(connection: Connection, limits: StatementLimits) -> None:
    driver = connection.connection.driver_connection
    if not isinstance(driver, TimedConnection):
        raise TypeError("the pool holds connections that it has opened")
    driver.begin(limits)
