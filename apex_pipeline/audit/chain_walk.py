"""Walk along a trail and find what does not fit; pure, and in constant memory.

A user who can switch the triggers off can change anything. A changed event no longer fits
its hash; a new hash does not fit the next event; and a trail that was rewritten from some
event on does not fit an anchor. Only a cut at the very end leaves a trail that fits
itself: there the ledger of runs and the anchors, best those stored elsewhere, tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apex_pipeline.audit.canonical_json import Json
from apex_pipeline.audit.chain import COVERED, GENESIS, digest_as_stored, document
from apex_pipeline.audit.events import Action

_MOST_PROBLEMS = 20
# How far from its place a moved event is looked for.
_NEIGHBOURS = 200

_SEQUENCE = COVERED.index("sequence")
_PREVIOUS = COVERED.index("previous_hash")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head that was stored, here or elsewhere.

    Attributes:
        is_kept_here: Whether it comes from the table of anchors, which the trail lists.
        time_stamp: SHA-256 of its time stamp, hexadecimal; None without one.
    """

    sequence: int
    hash: str
    is_kept_here: bool = True
    time_stamp: str | None = None


@dataclass(slots=True)
class Walk:
    """One walk from the first event to the last.

    Attributes:
        anchors: What the trail must agree with, by sequence.
        events: Events seen so far.
        problems: What does not fit, the first of it first, in words.
    """

    anchors: Sequence[Anchor]
    events: int = 0
    problems: list[str] = field(default_factory=list)
    _sequence: int = 0
    _hash: str = GENESIS
    _start: int = 0
    _start_previous: str = GENESIS
    _last_run: int | None = None
    _pruned: tuple[int, str] | None = None
    _landmarks: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    _has_searched: bool = False
    _wanted: dict[int, list[Anchor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for anchor in self.anchors:
            self._wanted.setdefault(anchor.sequence, []).append(anchor)

    def see(self, row: Sequence[Any]) -> None:
        """Look at the next event, in the order of the sequence.

        Args:
            row: The columns of `trail.EVENTS`.
        """
        sequence, previous, stored = row[_SEQUENCE], row[_PREVIOUS], row[-1]
        if sequence is None:
            # Only in a table whose key somebody has dropped.
            self._complain("An event has no sequence: it was changed or inserted.")
            return
        if self.events == 0 and sequence > 1:
            # Whether this is right, a pruning event further on has to say.
            self._start, self._start_previous = sequence - 1, previous
        elif not self._follows(sequence, previous):
            self._complain(self._misplaced(sequence))
        try:
            event = document(row[:-1])
            is_whole = digest_as_stored(event) == stored
        except ValueError:
            event, is_whole = {}, False
        if not is_whole:
            self._complain(self._changed(sequence, event, stored))
        for anchor in self._wanted.pop(sequence, ()):
            if anchor.hash != stored:
                self._complain(
                    f"Event {sequence} is not the one that was anchored: the trail up to "
                    "it was rewritten."
                )
        self._note(event)
        self.events += 1
        self._sequence, self._hash = sequence, stored

    def finish(self, last_closed_run: int | None) -> None:
        """Check what only the whole trail shows.

        Args:
            last_closed_run: The newest run in the ledger that has ended; None if there is
                none.
        """
        self._check_start()
        for sequence in sorted(self._wanted):
            self._check_lost(sequence)
        self._check_landmarks()
        last = self._last_run
        if last_closed_run is not None and last is not None and last_closed_run > last:
            self._complain(
                f"Run {last_closed_run} of the sync has ended, but the last run in the "
                f"trail is {last}: events at the end of the trail are missing."
            )

    def _follows(self, sequence: int, previous: str) -> bool:
        return sequence == self._sequence + 1 and previous == self._hash

    def _misplaced(self, sequence: int) -> str:
        if sequence > self._sequence + 1:
            missing = _span(self._sequence + 1, sequence - 1)
            return f"{missing} missing before event {sequence}: removed or renumbered."
        if sequence <= self._sequence:
            return f"Event {sequence} appears again: it was inserted."
        return (
            f"Event {sequence} does not follow event {self._sequence}: one of them was "
            "changed, moved or inserted, or events between them were removed."
        )

    def _changed(self, sequence: int, event: Mapping[str, Json], stored: str) -> str:
        # Only for the first that was changed: a search takes as long as all else does.
        near = 0 if self._has_searched else _NEIGHBOURS
        self._has_searched = True
        for place in range(max(sequence - near, 1), sequence + near):
            try:
                is_here = digest_as_stored({**event, "sequence": place}) == stored
            except ValueError:
                break
            if is_here:
                return f"Event {sequence} was event {place} before: it was moved."
        return f"Event {sequence} was changed: its hash does not fit its content."

    def _note(self, event: Mapping[str, Json]) -> None:
        """Keep what later checks need from events of some kinds."""
        subject: Any = event.get("subject")
        if not isinstance(subject, dict):
            return
        match event["action"]:
            case Action.SYNC | Action.RESEND:
                run = subject.get("sync_run")
                if isinstance(run, int):
                    self._last_run = max(run, self._last_run or 0)
            case Action.PRUNE:
                through, head = subject.get("through"), subject.get("hash")
                if isinstance(through, int) and isinstance(head, str):
                    self._pruned = (through, head)
            case Action.ANCHOR:
                sequence, head = subject.get("sequence"), subject.get("hash")
                if isinstance(sequence, int) and isinstance(head, str):
                    stamp = subject.get("time_stamp_sha256")
                    self._landmarks[sequence] = (head, stamp)

    def _check_start(self) -> None:
        if self._start == 0 and self._pruned is None:
            return
        if self._pruned != (self._start, self._start_previous):
            self._complain(
                f"{_span(1, self._start)} missing, and no pruning event accounts for "
                "exactly them: the beginning of the trail was removed."
                if self._start
                else "A pruning event says that the beginning was removed, but it is there."
            )

    def _check_lost(self, sequence: int) -> None:
        """Check anchors whose event is not in the trail."""
        for anchor in self._wanted[sequence]:
            if sequence > self._sequence:
                self._complain(
                    f"{_span(self._sequence + 1, sequence)} missing, though event "
                    f"{sequence} was anchored: the end of the trail was removed."
                )
            elif sequence < self._start and not anchor.is_kept_here:
                self._complain(
                    f"Event {sequence} was pruned, so its anchor cannot be checked. "
                    f"Events since {self._start + 1} are here."
                )
            elif sequence == self._start and anchor.hash != self._start_previous:
                self._complain(
                    f"The trail does not continue event {sequence} as it was anchored."
                )

    def _check_landmarks(self) -> None:
        kept = {
            a.sequence: (a.hash, a.time_stamp) for a in self.anchors if a.is_kept_here
        }
        for sequence, told in sorted(self._landmarks.items()):
            if kept.get(sequence) != told:
                self._complain(
                    f"The anchor of event {sequence} was changed or removed: audit_anchor "
                    "does not hold what the trail says."
                )
        for sequence in sorted(kept.keys() - self._landmarks.keys()):
            # The event that lists an anchor may be pruned with what it covers.
            if sequence >= self._start:
                self._complain(
                    f"The anchor of event {sequence} is not in the trail: it was "
                    "inserted, or the trail was rewritten."
                )

    def _complain(self, problem: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)


def _span(first: int, last: int) -> str:
    return f"Event {first} is" if first == last else f"Events {first} to {last} are"
