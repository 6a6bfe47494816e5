"""Files on this machine that are replaced as a whole.

New files and folders get the mode that the umask allows; a replaced file keeps its mode.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from apex_pipeline.errors import ApexError

_PART = ".apex-part"
EPOCH = datetime.fromtimestamp(0, UTC)
"""Modification times of files count from here."""


@contextmanager
def replacing(path: Path, *, modified: datetime | None = None) -> Iterator[BinaryIO]:
    """Open a file that replaces *path* if the block succeeds.

    Until then *path* is unchanged. A killed process leaves a hidden part file behind,
    which the next write into that folder removes.

    Args:
        path: The file to replace; its folder must exist.
        modified: Its modification time; None for now.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    with explained(path):
        _remove_abandoned(path.parent)
        part, name = _open_part(path.parent)
        try:
            _keep_mode(path, part.fileno())
            yield part
            part.flush()
            if modified is not None:
                instant = (modified - EPOCH) // timedelta(microseconds=1) * 1000
                os.utime(part.fileno(), ns=(instant, instant))
            os.fsync(part.fileno())
            name.replace(path)
        except BaseException:
            with suppress(OSError):
                name.unlink()
            raise
        finally:
            # Closing would try again to write the rest.
            with suppress(OSError):
                part.close()
        _sync_folder(path.parent)


def _keep_mode(path: Path, part: int) -> None:
    with suppress(FileNotFoundError):
        os.fchmod(part, stat.S_IMODE(path.stat().st_mode))


def make_folder(path: Path) -> None:
    """Create a folder; new parent folders are readable by this user only.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(exist_ok=True)


def require_folder_of(path: Path) -> None:
    """Refuse a file whose folder is not there, before the work that would fill it.

    Raises:
        ApexError: Has the remedy.
    """
    with explained(path):
        path.resolve().parent.stat()


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Translate errors of the file system.

    Raises:
        ApexError: Has the cause and the remedy.
        BrokenPipeError: The reader closed the pipe, which is not an error.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ApexError(
            f"{place} cannot be written: {error.strerror or error}. "
            f"{_REMEDIES.get(error.errno or 0, _LOOK)}"
        ) from error


_LOOK = "Check the folder, or choose another one."
_ROOM = "Make room there, or name a folder on another disk."
_RIGHTS = "Let this user write there, or name another folder."
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOENT: "Its folder does not exist. Create it, or name another one.",
}


def _open_part(folder: Path) -> tuple[BinaryIO, Path]:
    """Create a file that stays locked while its writer lives."""
    while True:
        name = folder / f".{secrets.token_hex(8)}{_PART}"
        # O_EXCL does not follow a planted link.
        number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        file = os.fdopen(number, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(number).st_nlink:
            return file, name
        # Another process removed it as abandoned before it was locked.
        file.close()


def _remove_abandoned(folder: Path) -> None:
    for name in folder.glob(f".*{_PART}"):
        # Leave files that are locked, gone by now, or another user's.
        with suppress(OSError), _opened(name, os.O_RDWR) as number:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()


def _sync_folder(folder: Path) -> None:
    # The file is replaced; some network file systems cannot sync a folder.
    with suppress(OSError), _opened(folder, os.O_RDONLY) as number:
        os.fsync(number)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)
