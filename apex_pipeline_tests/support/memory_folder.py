"""A folder in memory, for data that are thrown away.

To copy a database there costs a fifth of the processor time that a disk's file system
takes, and the tests copy thousands.
"""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")
_LEAST_FREE = 2 * 2**30
_PREFIX = "apex-tests-"
_LOCK = "in-use"
_YOUNG_SECONDS = 60


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """A folder that goes with the block; another one where memory has too little room."""
    _clear_up()
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _LEAST_FREE:
        yield otherwise
        return
    with (
        tempfile.TemporaryDirectory(dir=_MEMORY, prefix=_PREFIX) as name,
        (Path(name) / _LOCK).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _clear_up() -> None:
    """Remove what processes left there that were killed."""
    for lock_path in _MEMORY.glob(f"{_PREFIX}*/{_LOCK}"):
        try:
            with lock_path.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A younger one may be about to be locked.
                is_left = time.time() - lock_path.stat().st_mtime > _YOUNG_SECONDS
        except OSError:
            # In use, somebody else's, or gone by now.
            continue
        if is_left:
            shutil.rmtree(lock_path.parent, ignore_errors=True)
