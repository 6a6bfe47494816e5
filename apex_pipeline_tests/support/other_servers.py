"""Servers that tests marked `any_server` also run on: see `conftest.postgres`."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from apex_pipeline.local.embedded_postgres import EmbeddedPostgres
from apex_pipeline.local.unprivileged import find_quarters
from apex_pipeline_tests.support.ends import free_port
from apex_pipeline_tests.support.waiting import SECONDS, wait_until

SERVER_VARIABLE = "APEX_TEST_POSTGRES"
"""Folder of another Postgres's programs, such as /usr/lib/postgresql/17/bin."""
POOLER_VARIABLE = "APEX_TEST_POOLER"
"""Program of a PgBouncer to put in front of the server, such as /usr/sbin/pgbouncer."""

_USER, _PASSWORD = "apex", "for-tests"
# Fewer server connections than a sync and its readers open.
_POOL_SIZE = 6


class InstalledPostgres(EmbeddedPostgres):
    """A Postgres of the machine's own packages, on a new folder."""

    def __init__(self, folder: Path, programs: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings=settings)
        # Postgres 16 has it first.
        del self._settings["reserved_connections"]
        self._programs = programs

    def prepare(self, *, may_move: bool = True) -> None:
        assert may_move
        quarters = self._quarters = find_quarters(self._folder, self._programs.parent)
        password = self._folder / "password"
        password.write_text(_PASSWORD)
        quarters.give(password)
        (self._folder / "port").write_text(str(free_port()))
        data = quarters.home / "data"
        data.mkdir(mode=0o700)
        quarters.give(data)
        subprocess.run(
            [
                *quarters.prefix,
                str(quarters.installation / "bin" / "initdb"),
                *("-D", str(data), "-U", _USER, "-E", "UTF8", "--no-locale"),
                *("--auth=scram-sha-256", f"--pwfile={password}"),
            ],
            env=self.environment(),
            cwd="/",
            check=True,
            capture_output=True,
        )


@contextmanager
def pooled(
    database_url: str, folder: Path, program: str = "/usr/sbin/pgbouncer"
) -> Iterator[str]:
    """The same database through a PgBouncer that gives connections by transaction.

    Any role may log in, and any other database of the server is at the same address.
    """
    parts, port = urlsplit(database_url), free_port()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    configuration.write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port}\n"
        "[pgbouncer]\npool_mode = transaction\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\nauth_user = {parts.username}\n"
        f"default_pool_size = {_POOL_SIZE}\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
    )
    # It does not run as root.
    prefix = ["unshare", "--user", "--map-user=1000"] if os.getuid() == 0 else []
    with (folder / "pgbouncer.log").open("w") as log:
        process = subprocess.Popen([*prefix, program, str(configuration)], stderr=log)
    try:
        wait_until(lambda: _listens(port), process)
        yield through(database_url, port)
    finally:
        process.terminate()
        process.wait(SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def through(database_url: str, port: int) -> str:
    """The same URL, at another port of this machine."""
    parts = urlsplit(database_url)
    netloc = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
    return urlunsplit(parts._replace(netloc=netloc))
