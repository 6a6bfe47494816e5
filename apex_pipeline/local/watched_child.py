"""A program that the supervisor keeps running, and its process."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from apex_pipeline.local import child_bootstrap as child_program, processes
from apex_pipeline.local.health_checks import Checkup
from apex_pipeline.local.log_file import LogFile

LISTENER_DESCRIPTOR = child_program.LISTENER
"""Where a program finds the socket that `Child.listener` has opened for it."""

_MARKER = "APEX_SUPERVISED_BY"


@dataclass(frozen=True, slots=True)
class Child:
    """A program to keep running.

    Attributes:
        command: Returns the command line before each start; it may prepare things.
        ready: Returns whether the program is healthy, within seconds; None if something
            other than the program prevents the check.
        listener: Opens the socket on which the program is to serve; it inherits it.
        after: Names of the children that must be ready before this one starts.
        sick_after: Seconds without a good answer after which it is restarted.
        folder: Its current directory.
        stop_signal: The signal that requests an orderly end.
        stop_everyone: Whether its descendants get the signal too.
    """

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool | None] = lambda: True
    listener: Callable[[], socket.socket] | None = None
    after: Collection[str] = ()
    folder: Path = Path("/")
    stop_signal: signal.Signals = signal.SIGTERM
    stop_everyone: bool = False
    ready_within: float = 60.0
    sick_after: float = 30.0
    stop_within: float = 8.0


class WatchedChild:
    """A child and its state."""

    def __init__(self, child: Child, log: Path) -> None:
        self.child = child
        self.log = LogFile(log)
        self.checkup = Checkup(child.ready)
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.due_at = 0.0
        self.ready = False
        self.was_ready = False
        self.deaths_in_a_row = 0

    def spawn(self, command: Sequence[str], marker: str, heading: str) -> None:
        """Start the process.

        Args:
            command: Its command line.
            marker: Text for its environment, by which leftovers are recognised.
            heading: First line of this start in the log.

        Raises:
            OSError: It could not be started.
        """
        become = [sys.executable, "-I", "-S", child_program.__file__]
        with ExitStack() as stack:
            inherited = -1
            if self.child.listener is not None:
                listener = stack.enter_context(self.child.listener())
                inherited = listener.fileno()
            log = stack.enter_context(self.log.opened(heading))
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                [
                    *become,
                    *map(str, (os.getpid(), int(self.child.stop_signal), inherited)),
                    *command,
                ],
                cwd=self.child.folder,
                env={**self.child.environment, _MARKER: marker},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if inherited < 0 else (inherited,),
                # On Ctrl-C in the terminal, we stop the children in order.
                start_new_session=True,
            )

    def end(self) -> None:
        """Stop the process, if it runs, and its descendants."""
        if self.process is None:
            return
        processes.end(
            self.process.pid,
            request=self.child.stop_signal,
            patience=self.child.stop_within,
            everyone=self.child.stop_everyone,
        )
        self.process.wait()


def how_it_ended(code: int) -> str:
    """Describe the end of a process by its exit code."""
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name
    who = ", by a user or for lack of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{who}"
