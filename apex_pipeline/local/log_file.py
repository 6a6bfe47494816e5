"""The log file of a child: limited in size, and harmless on a full disk."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that a child appends its output to."""

    path: Path

    @contextmanager
    def opened(self, heading: str) -> Iterator[int]:
        """A descriptor to append to; the null device if the file cannot be created.

        Args:
            heading: A line to write first, if the disk has space.
        """
        try:
            log = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError:
            # A child without a log is better than none.
            yield subprocess.DEVNULL
            return
        try:
            with suppress(OSError):
                os.write(log, heading.encode())
            yield log
        finally:
            os.close(log)

    def bound(self) -> str:
        """Move a log that is too long to another file; the child keeps appending.

        Returns:
            What went wrong; empty if nothing did.
        """
        aside = self.path.with_suffix(".log.1")
        try:
            if self.path.stat().st_size <= _BYTES:
                return ""
            shutil.copyfile(self.path, aside)
        except FileNotFoundError:
            return ""
        except OSError as error:
            # Freeing the space is worth more than the copy.
            with suppress(OSError):
                aside.unlink()
            os.truncate(self.path, 0)
            return f"{self.path} was emptied without a copy ({error.strerror})"
        os.truncate(self.path, 0)
        return ""

    def tail(self, lines: int = 15) -> str:
        """The last lines, indented."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - 8192))
                text = file.read().decode(errors="replace")
        except OSError as error:
            return f"  (cannot be read: {error.strerror})"
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
