"""Store the running children on disk, so the next start can stop leftovers."""

import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from apex_pipeline.local import processes

_PATIENCE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class RecordedChild:
    """A child, and how to stop it.

    Attributes:
        started: `processes.Process.started`; a later process with the same id has
            another value.
    """

    name: str
    pid: int
    started: str
    stop_signal: int
    stop_everyone: bool


class ChildrenRecord:
    """The file of the running children.

    Attributes:
        marker: The text in the environment of all children and their descendants.
        is_old: Whether the file could not be written, and lacks the last change.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        """Remember the file; nothing is touched yet.

        Args:
            path: The file, which is replaced atomically.
            report: Receives messages for the user.
        """
        self._path = path
        self._report = report
        self._fault = ""
        self.marker = secrets.token_hex(16)
        self.is_old = False

    def write(self, children: Sequence[RecordedChild]) -> None:
        """Store the children in the order of their start; report if that fails."""
        draft = self._path.with_suffix(".draft")
        entries = [asdict(child) for child in children]
        text = json.dumps({"marker": self.marker, "children": entries}, allow_nan=False)
        try:
            draft.write_text(text)
            draft.replace(self._path)
        except OSError as error:
            self.is_old = True
            self._tell(
                f"{self._path} cannot be written ({error.strerror}). Everything keeps "
                "running. But if this process is killed now, the next start may leave "
                "its children running."
            )
        else:
            self.is_old = False
            self._tell("")

    def remove(self) -> None:
        """Remove the file, because no child runs any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def stop_leftovers(self) -> None:
        """Stop the recorded children that still run, and remove the file.

        A recorded id alone is not enough: the process must have the child's start time
        or, if the child has ended, carry the marker.
        """
        try:
            record = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return
        for entry in reversed(record["children"]):
            child = RecordedChild(**entry)
            leader = processes.find(child.pid)
            if leader:
                ours = leader.started == child.started
            else:
                left = processes.family(child.pid)
                ours = any(processes.carries(p, record["marker"]) for p in left)
            if ours:
                self._report(f"stopping {child.name}, left behind by an earlier start")
                processes.end(
                    child.pid,
                    request=child.stop_signal,
                    patience=_PATIENCE_SECONDS,
                    everyone=child.stop_everyone,
                )
        self._path.unlink()

    def _tell(self, fault: str) -> None:
        if self._fault and not fault:
            self._report(f"{self._path} can be written again")
        elif fault and fault != self._fault:
            self._report(fault)
        self._fault = fault
