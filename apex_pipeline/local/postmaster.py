"""Find and stop the server process of a data directory."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def find(data: Path) -> int | None:
    """Process id of the server on a data directory; a pid file alone proves nothing."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return None
    return pid if os.fsencode(f"-D\0{data}\0") in _command_line(pid) else None


def _command_line(pid: int) -> bytes:
    """The command line of a process; empty if it has ended or is a zombie."""
    if Path("/proc/self/cmdline").is_file():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return b""
    shown = subprocess.run(  # noqa: S603 - only a number varies
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        check=False,
        capture_output=True,
    ).stdout
    # A folder's name may contain a space; the words around it do not.
    return shown.replace(b" -D ", b" -D\0").replace(b" --", b"\0--")


def stop(data: Path, timeout: float) -> None:
    """Stop the server that runs on a data directory, if one does."""
    pid = find(data)
    if pid is not None:
        end(pid, lambda: find(data) != pid, timeout)


def end(pid: int, ended: Callable[[], bool], timeout: float) -> None:
    """Request a fast shutdown, then an immediate one, then kill the server."""
    for request, patience in (
        (signal.SIGINT, timeout),
        (signal.SIGQUIT, 5.0),
        (signal.SIGKILL, 5.0),
    ):
        if ended():
            return
        with suppress(ProcessLookupError):
            os.kill(pid, request)
        deadline = time.monotonic() + patience
        while not ended() and time.monotonic() < deadline:
            time.sleep(0.02)
