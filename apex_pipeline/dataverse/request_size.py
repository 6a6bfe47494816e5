"""Choose the rows per bulk request by how long the last requests took.

A request costs a fixed time plus a time per row. Both depend on the environment: from a
millisecond per row to more than a second where plug-ins run. So the size doubles as long
as that raises the rows per second of the service's time, and falls back when it does
not. A request that fails because it is too large halves it: after a timeout here, in SQL
or at a gateway, or because of a body that is too large.

Nothing here reads a clock. The chosen size outlives the run, hence `snapshot`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeGuard

FIRST_ROWS = 100
"""Microsoft's guidance for small rows on a standard table starts at this size."""

MOST_ROWS = 1000
"""What one `$batch` holds, in case the rows have to go one by one."""

MOST_BYTES = 4 * 1024 * 1024
"""Largest request body; the service's own limit is not documented."""

_AIM = 0.25
"""Share of the request timeout that an answer may take: well under half, because request
times vary."""

_ROUND = 4
"""Answers weighed together."""

_GAIN = 0.02
"""Least gain in rows per second that is worth longer requests."""

_HOLD = 50
"""Answers before trying a size again that failed or did not pay; doubles each time."""

_LONGEST_HOLD = 1600

_CERTAINTY = 0.9
"""Share of the time left that the last request is planned to take."""

_LAST_ROUNDS = 2
"""Requests per slot that are planned at the end, so all slots end together."""

_MANY_ROWS = 1000
_LEAD_ROWS = 5
_LEAD_SECONDS = 1.0
"""Where the first request goes alone and many rows wait behind it, it is kept short."""

_LEAST_SECONDS = 0.001

_PRICE_SECONDS = 0.2
"""Dataverse allows 6 000 requests and 1 200 s of execution in a window. A request that
takes less than its part of that time uses up the requests instead, so it costs the
same."""


class _Pace:
    """Seconds per request by its rows: a line fitted to the last answers."""

    _MEMORY = 0.9

    def __init__(self) -> None:
        self._sums = [0.0] * 5
        self._fixed = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        expected = self.seconds(rows)
        if not expected / 2 <= seconds <= expected * 2:
            # The service's speed has changed; forget the old answers.
            self._sums = [0.0] * 5
        new = (1.0, rows, seconds, rows * rows, rows * seconds)
        self._sums = [
            self._MEMORY * old + one for old, one in zip(self._sums, new, strict=True)
        ]
        self._fixed = self.line()[0]

    def line(self) -> tuple[float, float]:
        """Seconds for the request itself, and for each row; both 0 if unknown."""
        count, rows, seconds, squares, products = self._sums
        if count == 0:
            return 0.0, 0.0
        # Answers of a single size cannot show which part of the time is fixed; the last
        # estimate still applies.
        slope = max(seconds - count * self._fixed, 0.0) / rows
        spread = count * squares - rows * rows
        if spread > 1e-3 * rows * rows:
            slope = (count * products - rows * seconds) / spread
            slope = min(max(slope, 0.0), seconds / rows)
        return (seconds - slope * rows) / count, slope

    def seconds(self, rows: int) -> float:
        fixed, each = self.line()
        return fixed + each * rows

    def rows(self, seconds: float) -> float:
        """The rows that a request should finish within this many seconds."""
        fixed, each = self.line()
        if each == 0:
            return math.inf if fixed <= seconds else 0.0
        return max(seconds - fixed, 0.0) / each


class RequestSize:
    """Rows in the next bulk request.

    Args:
        timeout: Seconds after which a request times out.
        fixed: Start with this size and never exceed it.
    """

    def __init__(self, *, timeout: float = 120.0, fixed: int | None = None) -> None:
        self._target = timeout * _AIM
        self._is_fixed = fixed is not None
        self._rows = fixed or FIRST_ROWS
        self._pace = _Pace()
        self._has_begun = False
        self._round: list[float] = []
        self._before: tuple[int, float] | None = None
        self._hold = 0
        self._next_hold = _HOLD

    @property
    def rows(self) -> int:
        """Rows that a request should carry if nothing else limits it."""
        return self._rows

    def portion(
        self, *, left: int, slots: int, seconds: float, busy: Sequence[float] = ()
    ) -> int:
        """Rows for the next request; 0 if no request is likely to end in time.

        The first request carries at least one row. Otherwise a service that was slow
        once would never be tried again.

        Args:
            left: Rows still to be sent, if known.
            slots: Requests that may run at once.
            seconds: Time left.
            busy: Seconds until each request under way is expected to end.
        """
        if seconds <= 0:
            return 0
        rows = self._rows
        if not self._is_fixed:
            rows = min(rows, self._share(left, slots, busy))
            if not self._has_begun and slots == 1 and left > _MANY_ROWS:
                rows = min(rows, self._leading())
        foreseen = self._pace.rows(_CERTAINTY * seconds)
        rows = int(min(rows, foreseen))
        if not self._has_begun:
            rows = max(rows, 1)
        self._has_begun = True
        return rows

    def expected_seconds(self, rows: int) -> float:
        """How long a request of this size takes, by the last answers; 0 if unknown."""
        return self._pace.seconds(rows)

    def answered(self, rows: int, seconds: float) -> None:
        """Count a request that succeeded after this many seconds."""
        seconds = max(seconds, _LEAST_SECONDS)
        self._pace.observe(rows, seconds)
        if self._is_fixed:
            return
        if seconds > self._target:
            fitting = max(int(rows * self._target / seconds), 1)
            if fitting < self._rows:
                self._settle(fitting, hold=_HOLD)
        elif rows == self._rows:
            self._weigh(rows / max(seconds, _PRICE_SECONDS))

    def failed(self, rows: int, seconds: float = 0.0) -> None:
        """Count a request that was too large.

        Args:
            rows: How many rows it carried.
            seconds: When it failed or timed out; 0 if it was refused at once.
        """
        smaller = max(rows // 2, 1)
        if seconds > max(self._pace.seconds(rows), _LEAST_SECONDS):
            # It would have taken at least this long.
            self._pace.observe(rows, seconds)
            smaller = min(smaller, max(int(rows * self._target / seconds), 1))
        if smaller < self._rows:
            self._settle(smaller, hold=self._next_hold)
            self._next_hold = min(self._next_hold * 2, _LONGEST_HOLD)

    def snapshot(self) -> dict[str, object]:
        """State for the next process, as JSON."""
        fixed, each = self._pace.line()
        return {"rows": self._rows, "seconds": fixed, "seconds_per_row": each}

    def restore(self, saved: object) -> None:
        """Restore the state that another process saved."""
        if not isinstance(saved, Mapping) or self._is_fixed:
            return
        rows, fixed, each = (
            saved.get(name) for name in ("rows", "seconds", "seconds_per_row")
        )
        if not (isinstance(rows, int) and 1 <= rows <= MOST_ROWS):
            return
        self._rows = rows
        if _is_time(fixed) and _is_time(each):
            # Two points define the line.
            for some in (rows, 2 * rows):
                self._pace.observe(some, fixed + each * some)

    def _share(self, left: int, slots: int, busy: Sequence[float]) -> int:
        """Rows for a free slot so that, towards the end, all slots end together.

        A slot that is still busy gets less of what is left.
        """
        _, each = self._pace.line()
        free_in = sorted([*busy, *[0.0] * (slots - len(busy))])
        # What the first n slots would carry, had they all been free at once.
        rows = min(
            (left * each + waits) / n for n, waits in enumerate(accumulate(free_in), 1)
        )
        rows = rows / each if each else left / slots
        requests = math.ceil(rows / self._rows)
        if requests > _LAST_ROUNDS:
            return self._rows
        return max(FIRST_ROWS, math.ceil(rows / max(requests, 1)))

    def _leading(self) -> int:
        return max(int(min(_LEAD_ROWS, self._pace.rows(_LEAD_SECONDS))), 1)

    def _weigh(self, rate: float) -> None:
        if self._hold > 0:
            self._hold -= 1
            return
        self._round.append(rate)
        if len(self._round) < _ROUND:
            return
        # All rows over all seconds: at one size, that is the harmonic mean.
        rate = len(self._round) / sum(1 / each for each in self._round)
        if self._before is not None:
            smaller, slower = self._before
            # Below the usual size, fewer requests are a gain in themselves.
            wanted = _GAIN if self._rows > FIRST_ROWS else -_GAIN
            if rate < slower * (1 + wanted):
                self._settle(smaller, hold=self._next_hold)
                self._next_hold = min(self._next_hold * 2, _LONGEST_HOLD)
                return
            self._next_hold = _HOLD
        larger = int(min(self._next(), self._pace.rows(self._target), MOST_ROWS))
        self._round = []
        self._before = None
        if larger > self._rows:
            self._before = (self._rows, rate)
            self._rows = larger

    def _next(self) -> float:
        """Twice as many rows, or up to four times if the fitted line predicts a gain."""
        fixed, each = self._pace.line()
        enough = fixed / each * (1 - _GAIN / 2) / (_GAIN / 2) if each else math.inf
        return min(max(enough, 2 * self._rows), 4 * self._rows)

    def _settle(self, rows: int, *, hold: int) -> None:
        self._rows = rows
        self._round = []
        self._before = None
        self._hold = hold


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < math.inf
