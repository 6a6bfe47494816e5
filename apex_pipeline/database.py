"""The way to Postgres: patient connections, and every error translated once.

Correct behind a transaction pooler such as Neon's: nothing is prepared on the server,
and no setting outlives its transaction.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg
from psycopg import errors
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import (
    DBAPIError,
    OperationalError,
    TimeoutError as NoConnectionFreeError,
)

from apex_pipeline.errors import (
    ApexError,
    ConfigError,
    DatabaseError,
    DatabaseUnavailableError,
    SchemaMissingError,
)
from apex_pipeline.postgres_url import read_postgres_url, shown_address

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_FIRST_PAUSE = 0.1

# psycopg tries each address of a host for so long, and providers give hosts many: a
# tick with little patience must come to its end before Dagster gives it up.
_MOST_SECONDS_FOR_AN_ADDRESS = 10.0
_LEAST_SECONDS_FOR_AN_ADDRESS = 5.0

_CONNECTION = {
    # A peer that vanished without a word is noticed within a minute, not in hours.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 40_000,
    # A pooler gives each transaction another server connection.
    "prepare_threshold": None,
}

# Refusals that no patience ends. A failed connection carries no SQLSTATE, only text.
_REFUSALS = {
    "authentication failed": "Check the user and the password in DATABASE_URL.",
    "no password supplied": "Put the password into DATABASE_URL.",
    "is not permitted to log in": "Name a user with LOGIN in DATABASE_URL.",
    "no pg_hba.conf entry": "The server lets this user in from elsewhere, or over TLS "
    "(sslmode=require), only.",
    "does not exist": "Check the user and the database in DATABASE_URL.",
    "no such database": "Check the database in DATABASE_URL.",
    "permission denied for database": "Grant the user CONNECT on the database.",
    "does not support SSL": "Check sslmode in DATABASE_URL.",
    "certificate verify failed": "Check sslmode and sslrootcert in DATABASE_URL.",
    "invalid ": "Check the parameters in DATABASE_URL.",
    "Endpoint ID is not specified": "Check the host in DATABASE_URL.",
}


class Database:
    """A Postgres database that may be asleep, behind a pooler, or gone for a moment.

    Attributes:
        address: Hosts, ports and name of the database, fit to be shown.
    """

    def __init__(
        self,
        url: str,
        *,
        wait_seconds: float = 30.0,
        application_name: str,
        variable: str = "DATABASE_URL",
    ) -> None:
        """Prepare to connect; nothing is sent yet.

        Args:
            url: As `read_postgres_url` takes it.
            wait_seconds: Patience with a server that does not take connections, and
                with other threads of ours that have all there may be.
            application_name: What the server shows this process as.
            variable: Where the URL comes from, for messages.

        Raises:
            ConfigError: The URL is not one of a Postgres database.
        """
        self._variable = variable
        given = read_postgres_url(url, variable)
        self.address = shown_address(given)
        self._wait_seconds = wait_seconds
        self._parameters: dict[str, Any] = {
            **_CONNECTION,
            "connect_timeout": _seconds_for_an_address(wait_seconds),
            "application_name": application_name,
            **given,
        }
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            pool_size=2,
            max_overflow=2,
            pool_timeout=wait_seconds,
            pool_pre_ping=True,
            # Saves asking for the type at the first connection.
            use_native_hstore=False,
            # A row's values belong in no log.
            hide_parameters=True,
        )

    def __enter__(self) -> Self:
        """Return the database itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all idle connections."""
        self.close()

    def close(self) -> None:
        """Close all idle connections."""
        self._engine.dispose()

    def connect(self) -> psycopg.Connection:
        """Open a connection that belongs to the caller, waiting for a suspended server.

        Raises:
            DatabaseUnavailableError: The server did not answer within the patience.
            DatabaseError: It answered, and refuses us.
        """
        deadline = time.monotonic() + self._wait_seconds
        pause = _FIRST_PAUSE
        while True:
            try:
                return psycopg.connect(**self._parameters)
            except psycopg.ProgrammingError as error:
                raise ConfigError(f"{self._variable}: {_first_line(error)}.") from error
            except psycopg.OperationalError as error:
                reason = _first_line(error)
                if (remedy := _remedy(reason, self._variable)) is not None:
                    raise DatabaseError(
                        f"Postgres at {self.address} refuses the connection: {reason}. "
                        f"{remedy}"
                    ) from error
                if time.monotonic() + pause > deadline:
                    raise DatabaseUnavailableError(
                        f"Postgres at {self.address} does not answer: {reason}. Check "
                        "that it runs and can be reached from here."
                    ) from error
                if pause == _FIRST_PAUSE:
                    logger.info("waiting for postgres at %s: %s", self.address, reason)
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def transact(
        self, work: Callable[[Connection], _Result], *, repeatable: bool = False
    ) -> _Result:
        """Run *work* in one transaction.

        Args:
            work: What to do; it may use the connection it is given and nothing else.
            repeatable: Whether doing it twice is harmless. Then it is done once more
                if the connection is lost.

        Raises:
            DatabaseError: One of its kinds, with the remedy.
        """
        with self.translated():
            try:
                with self._engine.begin() as connection:
                    return work(connection)
            except OperationalError:
                if not repeatable:
                    raise
            with self._engine.begin() as connection:
                return work(connection)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours; those of a programming slip pass."""
        try:
            yield
        except DBAPIError as error:
            translation = isinstance(error.orig, psycopg.Error) and _translate(
                error.orig, self.address, self._variable
            )
            if not translation:
                raise
            raise translation from error
        except psycopg.Error as error:
            translation = _translate(error, self.address, self._variable)
            if translation is None:
                raise
            raise translation from error
        except NoConnectionFreeError as error:
            raise DatabaseUnavailableError(
                f"All connections of this process to Postgres at {self.address} are "
                f"busy, and none came free within {self._wait_seconds:g} s. Look at what "
                "the server is doing for so long; it can be tried again."
            ) from error


def _seconds_for_an_address(patience: float) -> int:
    seconds = max(patience / 2, _LEAST_SECONDS_FOR_AN_ADDRESS)
    return int(min(seconds, _MOST_SECONDS_FOR_AN_ADDRESS))


def _remedy(reason: str, variable: str) -> str | None:
    found = next((r for text, r in _REFUSALS.items() if text in reason), None)
    return found and found.replace("DATABASE_URL", variable)


def _translate(error: psycopg.Error, address: str, variable: str) -> ApexError | None:
    reason = _first_line(error)
    kind: type[DatabaseError] = DatabaseError
    match error:
        case errors.UndefinedTable() | errors.UndefinedColumn():
            kind = SchemaMissingError
            text = (
                f"The database {address} lacks what the pipeline needs: {reason}. Run "
                "`apex provision database`."
            )
        case errors.InsufficientPrivilege():
            text = (
                f"The user of {variable} may not do this at {address}: {reason}. "
                "Grant it, or use the role that owns the tables."
            )
        case errors.ReadOnlySqlTransaction():
            text = (
                f"The database {address} is read-only: {reason}. {variable} has to "
                "name the primary, not a replica."
            )
        case errors.RaiseException():
            text = f"{reason} (at {address})."
        case errors.DiskFull() | psycopg.InternalError():
            text = (
                f"Postgres at {address} failed inside: {reason}. Look at its disk and "
                "its log; the next run goes on."
            )
        case psycopg.OperationalError():
            kind = DatabaseUnavailableError
            text = (
                f"Postgres at {address} did not finish what was asked: {reason}. It "
                "can be tried again."
            )
        case _:
            return None
    return kind(text)


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error).strip() or type(error).__name__
    return text.splitlines()[0].removeprefix("connection failed: ").rstrip(".")
