"""The one `apex up` of a state folder: its lock, and what it tells other commands."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from apex_pipeline.errors import ApexError, ConfigError
from apex_pipeline.settings import local_file

_LOCK_FILE = "up.lock"


class AlreadyRunningError(ApexError):
    """Another `apex up` serves this state folder."""


@contextmanager
def only_one(state: Path, url: str) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process however it ends.

    Args:
        state: The folder, which is made if need be.
        url: Where a person finds what is running, for whoever comes second.

    Raises:
        AlreadyRunningError: Somebody else holds it.
        ConfigError: The folder cannot be made or written to.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = (state / _LOCK_FILE).open("a+")
    except OSError as error:
        raise ConfigError(
            f"{state} cannot hold the local state: {error.strerror}. Choose another "
            "folder with APEX_STATE_DIR."
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "it is only starting"
            raise AlreadyRunningError(
                f"apex up is running here already ({holder}). Stop it with Ctrl-C or "
                f"kill, or choose another folder with APEX_STATE_DIR; this one is "
                f"{state}."
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}, {url}\n")
        file.flush()
        yield


@contextmanager
def announced(state: Path, served: Mapping[str, str]) -> Iterator[None]:
    """Let other `apex` commands find what runs, for as long as it runs."""
    path = local_file(state)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    # Of a process that was killed the file remains; its pid tells.
    draft.write_text(
        json.dumps({**served, "PID": str(os.getpid())}, indent=1, allow_nan=False)
    )
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
