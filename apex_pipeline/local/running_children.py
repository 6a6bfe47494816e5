"""Store the running children on disk, so that the next start can stop leftovers."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from apex_pipeline.local import processes

_PATIENCE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Recorded:
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


def write_record(path: Path, marker: str, children: Sequence[Recorded]) -> None:
    """Store the children in the order of their start.

    Args:
        path: The file, which is replaced atomically.
        marker: The text in the environment of all children and their descendants.
        children: The running children.
    """
    draft = path.with_suffix(".draft")
    entries = [asdict(child) for child in children]
    draft.write_text(
        json.dumps({"marker": marker, "children": entries}, allow_nan=False)
    )
    draft.replace(path)


def stop_recorded(path: Path, report: Callable[[str], None]) -> None:
    """Stop the recorded children that still run, and remove the file.

    A recorded id alone is not enough: the process must have the child's start time or,
    if the child has ended, carry the marker.
    """
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return
    for entry in reversed(record["children"]):
        child = Recorded(**entry)
        leader = processes.find(child.pid)
        if leader:
            ours = leader.started == child.started
        else:
            left = processes.family(child.pid)
            ours = any(processes.carries(p, record["marker"]) for p in left)
        if ours:
            report(f"stopping {child.name}, left behind by an earlier start")
            processes.end(
                child.pid,
                request=child.stop_signal,
                patience=_PATIENCE_SECONDS,
                everyone=child.stop_everyone,
            )
    path.unlink()
