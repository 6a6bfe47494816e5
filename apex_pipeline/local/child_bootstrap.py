"""Becomes the program that it is given: a child that ends with its parent.

Run by path, `python -I -S child.py PARENT SIGNAL PROGRAM ARGUMENT…`, so that it costs
no import and, as it replaces itself, no process. It does between fork and exec what
must not be done in the parent, which has threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, stop_signal: int, command: list[str]) -> None:
    """Take default signal handling, tie our end to the parent's, become `command`."""
    # A shell starts its background jobs with SIGINT ignored, and what is ignored stays
    # so in children; Dagster routes SIGTERM to the handler of SIGINT.
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:
            sys.exit("the parent ended before its child began")
    try:
        os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
