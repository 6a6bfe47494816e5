"""Tell a systemic fault from many bad rows.

A row can fail for a reason outside itself. Such a suspect is held back until the
neighboring requests have been judged too. If most rows then failed with the same
error, the cause is not in the rows: none of them is quarantined, and the run stops.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from apex_pipeline.errors import SystemicRejectionError
from apex_pipeline.metrics import Rejection

MIN_ROWS = 20
"""A share of fewer rows than this proves nothing."""

REQUESTS_JUDGED = 3
"""Requests weighed together, so one cluster of bad rows among good ones does not
look like a fault of the service."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    rows: int
    suspects: tuple[Rejection, ...]


class Breaker:
    """Holds suspects back, then clears them or stops the run."""

    def __init__(self) -> None:
        self._open: deque[_Verdict] = deque()

    def judge(self, rows: int, suspects: Sequence[Rejection]) -> list[Rejection]:
        """Take in the outcome of one request.

        Args:
            rows: How many of its rows were delivered or rejected.
            suspects: The rejected rows whose cause may be a common one.

        Returns:
            Suspects of this or earlier requests that failed for their own reason.

        Raises:
            SystemicRejectionError: Most rows failed with the same error.
        """
        self._open.append(_Verdict(rows, tuple(suspects)))
        cleared: list[Rejection] = []
        while self._open and (
            not self._open[0].suspects or len(self._open) >= REQUESTS_JUDGED
        ):
            self._weigh()
            cleared.extend(self._open.popleft().suspects)
        return cleared

    def close(self) -> list[Rejection]:
        """Decide on the suspects still held back, after the last request.

        Raises:
            SystemicRejectionError: Most rows failed with the same error.
        """
        self._weigh()
        cleared = [one for verdict in self._open for one in verdict.suspects]
        self._open.clear()
        return cleared

    def _weigh(self) -> None:
        rows = sum(verdict.rows for verdict in self._open)
        shared = Counter(one.code for verdict in self._open for one in verdict.suspects)
        if rows < MIN_ROWS or not shared:
            return
        code, count = shared.most_common(1)[0]
        if count * 2 > rows:
            message = next(
                one.message
                for verdict in self._open
                for one in verdict.suspects
                if one.code == code
            )
            raise SystemicRejectionError(
                f"{count} of {rows} rows failed with {code}; this looks systemic. "
                "None of them was quarantined. "
                "Fix the cause; the rows stay pending, and the next run sends them."
                f"{SystemicRejectionError.OF_A_ROW}{message}"
            )
