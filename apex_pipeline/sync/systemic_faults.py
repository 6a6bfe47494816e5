"""Telling one systemic fault from many bad rows.

Rows refused for a reason that may not be their own are held back until the requests
around theirs have been judged too. If one and the same error then accounts for most of
the rows, the cause is not in the rows: nothing is quarantined, and the run stops.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from apex_pipeline.errors import SystemicRejectionError
from apex_pipeline.metrics import Rejection

MIN_ROWS = 20
"""Fewer rows than these prove nothing."""

REQUESTS_JUDGED = 3
"""How many requests are weighed together, so that one cluster of bad rows among good
ones is not taken for a fault of the service."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    rows: int
    suspects: tuple[Rejection, ...]


class Breaker:
    """Holds suspects back, and lets them go or stops the run."""

    def __init__(self) -> None:
        self._open: deque[_Verdict] = deque()

    def judge(self, rows: int, suspects: Sequence[Rejection]) -> list[Rejection]:
        """Take in what became of one request.

        Args:
            rows: How many rows it carried that were delivered or refused.
            suspects: Those refused for what may be a common cause.

        Returns:
            Suspects, of this request or earlier ones, whose fault is their own.

        Raises:
            SystemicRejectionError: One error is shared by most rows.
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
        """Decide on what is still held back, when no more requests will come.

        Raises:
            SystemicRejectionError: One error is shared by most rows.
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
                f"Dataverse refused {count} of {rows} rows for one and the same cause, "
                f"which is therefore not the rows': {code}. Nothing was quarantined. "
                "Mend the cause; the rows stay pending and go with the next run."
                f"{SystemicRejectionError.OF_A_ROW}{message}"
            )
