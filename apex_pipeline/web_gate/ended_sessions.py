"""Which sessions were signed out, kept for every process that shares the state folder.

A cookie is good at the panel and at the Dagster UI, so signing out at one of them has to
count at the other. Each claim is one line, `expiry.number`; without its signature it opens
nothing.
"""

import fcntl
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_MOST = 10_000


class EndedSessions:
    """The claims of ended sessions, in memory and in a file if there is one."""

    def __init__(self, path: Path | None, now: Callable[[], float]) -> None:
        """Read nothing yet.

        Args:
            path: The file that processes share; None to remember in this one alone.
            now: The time of day, in seconds.
        """
        self._path = path
        self._now = now
        self._claims: dict[str, float] = {}
        self._read: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._claims)

    def __contains__(self, claim: str) -> bool:
        """Whether the session was ended, here or by another process."""
        self._catch_up()
        return claim in self._claims

    def add(self, claim: str) -> None:
        """End a session here, and for the others if the file can be written."""
        self._claims[claim] = _expiry(claim)
        self._forget_old()
        if self._path is None:
            return
        try:
            self._append(self._path, claim)
        except OSError as error:
            logger.warning(
                "signing out could not be noted in %s (%s): until it expires, the "
                "session stays open at the other pages. Make the folder writable",
                self._path,
                error.strerror,
            )

    def _append(self, path: Path, claim: str) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            kept = [each for each in file.read().split() if self._is_live(each)]
            # A file that only grows has another size after each change.
            if len(kept) >= _MOST:
                kept = sorted(kept, key=_expiry)[_MOST // 2 :]
                file.seek(0)
                file.truncate()
                file.write("".join(f"{each}\n" for each in kept))
            file.write(f"{claim}\n")

    def _catch_up(self) -> None:
        """Read the file if it has changed since."""
        if self._path is None:
            return
        # No file: no one has signed out yet. A writer appends a line at once, so reading
        # needs no lock, which network file systems may lack.
        with suppress(FileNotFoundError), self._path.open() as file:
            found = os.fstat(file.fileno())
            state = (found.st_ino, found.st_size, found.st_mtime_ns)
            if state != self._read:
                self._read = state
                for claim in filter(self._is_live, file.read().split()):
                    self._claims[claim] = _expiry(claim)
                self._forget_old()

    def _forget_old(self) -> None:
        live = {one: at for one, at in self._claims.items() if at > self._now()}
        soonest = sorted(live, key=lambda one: live[one])[: max(0, len(live) - _MOST)]
        for one in soonest:
            del live[one]
        self._claims = live

    def _is_live(self, claim: str) -> bool:
        return _expiry(claim) > self._now()


def _expiry(claim: str) -> float:
    """When the session ends by itself; 0 for a line that we did not write."""
    text = claim.partition(".")[0]
    return float(text) if text.isascii() and text.isdigit() else 0.0
