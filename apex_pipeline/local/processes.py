"""The process table: process families, and how to end them.

A process is identified by its id *and* its start time, because ids are reused. A family
is a process, all its descendants, and all processes in the session that it leads: an
orphan gets another parent but keeps its session.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One running process.

    Attributes:
        started: Its start time, in a form that is unique among all processes that ever
            had this id.
    """

    pid: int
    parent: int
    session: int
    started: str


def running(pids: Iterable[int] | None = None) -> dict[int, Process]:
    """The running processes by id: the given ones, or all of this machine."""
    has_proc = (_PROC / "self" / "stat").is_file()
    return from_proc(pids) if has_proc else from_ps(pids)


def find(pid: int) -> Process | None:
    """The process that currently has this id."""
    return running([pid]).get(pid)


def family(leader: int) -> set[Process]:
    """A process, its descendants, and all other processes of its session."""
    table = running()
    session = {p.pid for p in table.values() if p.session == leader}
    return _with_descendants(session | {leader}, table)


def descendants(pid: int) -> set[Process]:
    """The children of a process, their children, and so on."""
    return {p for p in _with_descendants({pid}, running()) if p.pid != pid}


def survivors(processes: Iterable[Process]) -> set[Process]:
    """The processes that still run; a new process with the same id does not count."""
    known = list(processes)
    now = running([process.pid for process in known])
    return {
        process
        for process in known
        if process.pid in now and now[process.pid].started == process.started
    }


def end(leader: int, *, request: int, patience: float, everyone: bool = False) -> None:
    """End a family: request it, wait, then kill the rest.

    Args:
        leader: Process id of the leader; it may have ended and left others behind.
        request: The signal that requests an orderly end.
        patience: Seconds that the leader may take to end.
        everyone: Send the signal to the whole family instead of the leader only.
    """
    members = family(leader)
    asked = {p for p in members if everyone or p.pid == leader}
    _send(asked, request)
    # A suspended process handles the request only after SIGCONT.
    _send(asked, signal.SIGCONT)
    _wait(lambda: not _leaders(members, leader), patience)
    if not _leaders(members, leader):
        members |= family(leader)
        _send(members, signal.SIGTERM)
        _wait(lambda: not survivors(members), 3.0)
    members |= family(leader)
    _send(members, signal.SIGKILL)
    _wait(lambda: not survivors(members), 5.0)


def carries(process: Process, marker: str) -> bool:
    """Whether a process has this text in its environment; False if unknown."""
    try:
        return marker.encode() in (_PROC / str(process.pid) / "environ").read_bytes()
    except OSError:
        return False


def from_proc(pids: Iterable[int] | None) -> dict[int, Process]:
    """Read Linux's /proc."""
    # Start times count from the boot.
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    if pids is None:
        pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    table = {}
    for pid in pids:
        try:
            stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            continue
        # The name in brackets may contain any text; proc(5) numbers the rest from 3.
        state, parent, _, session, *rest = stat.rpartition(")")[2].split()
        if state not in "ZXx":
            table[pid] = Process(pid, int(parent), int(session), f"{boot} {rest[15]}")
    return table


def from_ps(pids: Iterable[int] | None) -> dict[int, Process]:
    """Read the process table with ps, if there is no /proc."""
    choice = ["-A"] if pids is None else ["-p", ",".join(map(str, pids)) or "0"]
    # One -o per column: outside Linux, all text after an = is a heading.
    columns = [f"-o{name}=" for name in ("pid", "ppid", "stat", "lstart")]
    # The exit code says only whether any of them runs.
    listing = subprocess.run(  # noqa: S603 - only numbers vary
        ["/bin/ps", *choice, *columns],
        check=False,
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    ).stdout
    table = {}
    for line in listing.splitlines():
        pid, parent, state, started = line.split(maxsplit=3)
        try:
            session = os.getsid(int(pid))
        except (ProcessLookupError, PermissionError):
            continue
        if not state.startswith("Z"):
            table[int(pid)] = Process(int(pid), int(parent), session, started.strip())
    return table


def _with_descendants(pids: set[int], table: Mapping[int, Process]) -> set[Process]:
    members = set(pids)
    while more := {p.pid for p in table.values() if p.parent in members} - members:
        members |= more
    return {table[pid] for pid in members if pid in table}


def _leaders(members: set[Process], leader: int) -> set[Process]:
    return survivors(p for p in members if p.pid == leader)


def _send(processes: Iterable[Process], number: int) -> None:
    for process in survivors(processes):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
