"""Replace this process by a program that ends with its parent.

Run by path: `python -I -S child_bootstrap.py PARENT SIGNAL SOCKET PROGRAM ARGUMENT…`. That
costs no import and, because it replaces itself, no extra process. It does the work
between fork and exec that a parent with threads must not do.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
LISTENER = 3
"""The descriptor under which the program finds the inherited socket."""


def main(parent: int, stop_signal: int, listener: int, command: list[str]) -> None:
    """Reset signal handling, arrange to end with the parent, and run `command`.

    Args:
        parent: Its process id.
        stop_signal: What the program gets when its parent ends.
        listener: Descriptor of an inherited socket, or -1.
        command: The program and its arguments.
    """
    # A shell ignores SIGINT in its background jobs, and children inherit that; Dagster
    # routes SIGTERM to the handler of SIGINT.
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:
            sys.exit("the parent ended before its child started")
    if listener not in (-1, LISTENER):
        os.dup2(listener, LISTENER)
        os.close(listener)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
