"""The running children on disk, for whoever comes after a supervisor that was killed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from apex_pipeline.local import processes

_PATIENCE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A child, and how it is to be stopped.

    Attributes:
        started: `processes.Process.started`, which tells it from a later process that
            got the same id.
    """

    name: str
    pid: int
    started: str
    stop_signal: int
    stop_everyone: bool


def write_record(path: Path, marker: str, children: Sequence[Recorded]) -> None:
    """Put down the children, in the order of their start.

    Args:
        path: The file, replaced in one step.
        marker: What all of them and their descendants carry in their environment.
        children: Those that run.
    """
    draft = path.with_suffix(".draft")
    entries = [asdict(child) for child in children]
    draft.write_text(
        json.dumps({"marker": marker, "children": entries}, allow_nan=False)
    )
    draft.replace(path)


def stop_recorded(path: Path, report: Callable[[str], None]) -> None:
    """Stop what is left of the recorded children, and remove the file.

    A process that merely has a recorded id is left alone: it must also have started
    when the child did or, with the child gone, carry the marker.
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
