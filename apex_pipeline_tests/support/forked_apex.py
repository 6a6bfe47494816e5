"""`apex` as a process of its own, without the seconds that loading Dagster takes.

A server loads the libraries that `apex` uses, and modules of ours that read no variable
when they are loaded, as definitions do. It forks for each command: what runs is a process
with its own environment, folder and output. Tests that send signals to a command, or
measure it, start the program itself.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules, walk_packages
from typing import NoReturn

import pytest

import apex_pipeline

_LOADED = (
    *("dagster", "dagster_postgres", "sqlalchemy.dialects.postgresql.psycopg"),
    *("alembic.command", "psycopg", "httpx", "msal", "grpc", "rich.console", "yaml"),
    *("cryptography.x509", "dagster._cli", "dateutil.parser", "jinja2", "psycopg2"),
    *("prometheus_client", "starlette.applications", "uvicorn", "yoyo"),
    *("httpcore", "anyio._backends._asyncio", "_strptime", "statistics", "upath"),
    *("fsspec.implementations.local", "msal_extensions", "yoyo.scripts.main"),
    *("dagster._core.definitions.external_asset", "dagster._core.executor.in_process"),
    *("dagster._core.execution.execute_in_process", "dagster._core.instance.factory"),
    *("dagster._core.execution.plan.active", "dagster._core.instance.runs.run_domain"),
    "dagster._core.definitions.repository_definition.repository_data_builder",
    "dagster._core.launcher.sync_in_memory_run_launcher",
    *("dagster._core.storage.migration.utils", "dagster._core.storage.root"),
    "dagster._core.storage.noop_compute_log_manager",
    "dagster._core.system_config.composite_descent",
    "dagster._core.types.transform_typing",
)
# Definitions read variables when they are loaded, and some commands load them. The rest
# is of no command, or of one that tests start as a process.
_NOT_LOADED = (
    *("definitions", "defs", "cli"),
    *("dagster_program", "emulator", "lineage", "local", "web_gate"),
)
_PIECE = 1 << 16
_CODE = "-c"


class ForkedApex:
    """Runs commands one after the other."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def run(
        self,
        arguments: Sequence[object],
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, as `subprocess.run` does with text that is captured.

        One that takes longer is killed.
        """
        done = self.run_bytes(arguments, env=env, cwd=cwd, timeout=timeout)
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def run_code(
        self, code: str, *, env: Mapping[str, str], timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """The same for a program of a few lines, which loads what it needs of ours."""
        return self.run([_CODE, code], env=env, cwd=Path.cwd(), timeout=timeout)

    def run_bytes(
        self,
        arguments: Sequence[object],
        *,
        env: Mapping[str, str],
        cwd: Path,
        piped: bytes = b"",
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[bytes]:
        """The same for a command that reads or writes bytes."""
        command = [str(each) for each in arguments]
        asked = json.dumps([command, dict(env), str(cwd)])
        theirs, ours = os.pipe()
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            open(ours, "wb", buffering=0) as pipe,  # noqa: PTH123  a descriptor
        ):
            files = [theirs, out.fileno(), err.fileno()]
            socket.send_fds(self._control, [f"{asked}\n".encode()], files)
            os.close(theirs)
            pid = int(_line(self._control))
            killer = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
            killer.start()
            # It need not read what is piped to it.
            with suppress(BrokenPipeError):
                pipe.write(piped)
            pipe.close()
            code = int(_line(self._control))
            killer.cancel()
            for each in (out, err):
                each.seek(0)
            return subprocess.CompletedProcess(
                ["apex", *command], code, out.read(), err.read()
            )


@pytest.fixture(scope="session")
def forked_apex() -> Iterator[ForkedApex]:
    """One server for all tests of a process."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        ),
    ):
        theirs.close()
        yield ForkedApex(ours)
        ours.close()


def _ours() -> Iterator[str]:
    """Names of our modules, but for those in `_NOT_LOADED`."""
    for room in iter_modules(apex_pipeline.__path__):
        if room.name not in _NOT_LOADED:
            name = f"{apex_pipeline.__name__}.{room.name}"
            yield name
            within = getattr(import_module(name), "__path__", ())
            yield from (
                each.name
                for each in walk_packages(within, f"{name}.")
                if not each.name.endswith(".__main__")
            )


def _serve(control: socket.socket) -> None:
    for name in (*_LOADED, *_ours()):
        import_module(name)
    if "apex_pipeline.defs" in sys.modules:
        raise RuntimeError("a module outside defs loads definitions when it is loaded")
    # No child looks for garbage among them.
    gc.freeze()
    while True:
        asked, files, _, _ = socket.recv_fds(control, _PIECE, 3)
        if not asked:
            return
        asked += b"" if asked.endswith(b"\n") else _line(control)
        pid = os.fork()
        if pid == 0:
            control.close()
            arguments, environment, folder = json.loads(asked)
            _become(arguments, environment, folder, files)
        for each in files:
            os.close(each)
        control.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _line(control: socket.socket) -> bytes:
    """The rest of a line."""
    found = b""
    while not found.endswith(b"\n"):
        piece = control.recv(1)
        assert piece, "the other end is gone"
        found += piece
    return found


def _become(
    arguments: list[str], environment: dict[str, str], folder: str, files: list[int]
) -> NoReturn:
    """Be the command, as if it had just been started."""
    for number, given in enumerate(files):
        os.dup2(given, number)
        os.close(given)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  a descriptor
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    if arguments[0] == _CODE:
        exec(arguments[1], {"__name__": "__main__"})  # noqa: S102  a test's
        sys.exit()
    sys.argv = ["apex", *arguments]
    from apex_pipeline.cli import main  # noqa: PLC0415  of the child alone

    sys.exit(main())


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
