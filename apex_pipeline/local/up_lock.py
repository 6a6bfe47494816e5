"""Lock a state folder for one `apex up`, and publish its services to other commands."""

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.local.private_files import write_private
from apex_pipeline.settings import local_file

_LOCK_FILE = "up.lock"
_OF_OTHERS = 0o077


class AlreadyRunningError(ApexError):
    """Another `apex up` uses this state folder."""


@contextmanager
def only_one(state: Path, url: str) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process in any case.

    Args:
        state: The folder; it is created if necessary.
        url: Address of the Dagster UI, shown to a second `apex up`.

    Raises:
        AlreadyRunningError: Another process holds the lock.
        ConfigError: The folder cannot be created or written to, or every user may, or
            others may read it and it is not ours to close.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        # They could replace our settings and programs.
        found = state.stat()
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"{state} belongs to another user of this machine. Choose a folder of "
                "your own with APEX_STATE_DIR."
            )
        if found.st_mode & stat.S_IWOTH:
            raise ConfigError(
                f"Every user of this machine may write to {state}. Run `chmod o-w {state}`, "
                "or choose another folder with APEX_STATE_DIR."
            )
        if stat.S_IMODE(found.st_mode) & _OF_OTHERS:
            _close_to_others(state)
        opened = (state / _LOCK_FILE).open("a+")
    except OSError as error:
        raise ConfigError(
            f"{state} cannot store the local state: {error.strerror}. Choose another "
            "folder with APEX_STATE_DIR."
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "it is still starting"
            raise AlreadyRunningError(
                f"apex up already runs in {state} ({holder}). Stop it with Ctrl-C or "
                "kill, or choose another folder with APEX_STATE_DIR."
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}, {url}\n")
        file.flush()
        yield


def _close_to_others(state: Path) -> None:
    """Keep logs, exports and Dagster's files from other users of this machine."""
    is_ours = (state / _LOCK_FILE).exists() or not any(state.iterdir())
    if not is_ours:
        raise ConfigError(
            f"Other users of this machine may read {state}, which would hold logs and "
            "exports, and it has files that `apex up` did not make. Run "
            f"`chmod 700 {state}`, or choose another folder with APEX_STATE_DIR."
        )
    state.chmod(0o700)


@contextmanager
def announced(state: Path, served: Mapping[str, str]) -> Iterator[None]:
    """Publish the services to other `apex` commands while they run."""
    path = local_file(state)
    # After a kill the file remains; readers check the process id in it.
    told = {**served, "PID": str(os.getpid())}
    write_private(path, json.dumps(told, indent=1, allow_nan=False))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
