"""Time limits for statements, from the time budget that they share; pure."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

STATEMENT_SECONDS = 300.0
"""The longest time for one statement, unless its caller sets another limit."""

TCP_LIMITS = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 40_000,
}
"""Parameters of libpq: a peer that vanished is noticed within a minute, not after hours."""

# Postgres reports the limit that is reached first, and a lock timeout explains more.
_SHARE_OF_LOCKS = 0.9
_MOST_FOR_LOCKS = 240.0

# Statements after the end of a budget store what was achieved within it.
_LEAST_GRACE, _MOST_GRACE, _SHARE_OF_GRACE = 5.0, 20.0, 0.25
_GRACE_FOR_LOCKS = 1.5
_GRACE_FOR_CONNECTING = 2.0

# psycopg tries each address of a host for this long, and providers give hosts many. A
# tick with little patience must end before Dagster times it out.
_MOST_SECONDS_FOR_AN_ADDRESS = 10.0
_LEAST_SECONDS_FOR_AN_ADDRESS = 5.0

# Where a router forgets a connection in the middle of a transaction, the server believes
# in it for hours, and its row locks stay.
_LEAST_IDLE, _MOST_IDLE = 30.0, 90.0


@dataclass(frozen=True, slots=True)
class StatementLimits:
    """How long one statement may take, in seconds.

    Attributes:
        statement: Total time.
        lock: Time waiting for another session's lock.
    """

    statement: float
    lock: float

    @property
    def idle(self) -> float:
        """How long the server waits for the next statement of an open transaction."""
        return min(max(self.statement, _LEAST_IDLE), _MOST_IDLE)

    @property
    def settings(self) -> str:
        """SQL that sets the limits for one transaction only, which suits poolers."""
        return (
            f"SET LOCAL statement_timeout = {_milliseconds(self.statement)}; "
            f"SET LOCAL lock_timeout = {_milliseconds(self.lock)}; "
            "SET LOCAL idle_in_transaction_session_timeout = "
            f"{_milliseconds(self.idle)}"
        )


def limits_of(seconds: float) -> StatementLimits:
    """The limits of a statement that may take this long in total."""
    return StatementLimits(seconds, min(_SHARE_OF_LOCKS * seconds, _MOST_FOR_LOCKS))


class TimeBudget:
    """The time that all statements of one piece of work share.

    After it is used up, each statement still gets a quarter of it (5 to 20 seconds), and
    1.5 seconds for locks.
    """

    def __init__(
        self,
        statement_seconds: float = STATEMENT_SECONDS,
        total_seconds: float = math.inf,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the budget now.

        Args:
            statement_seconds: The longest time for one statement.
            total_seconds: For all statements together.
            clock: Monotonic seconds.
        """
        self._clock = clock
        self._statement = statement_seconds
        self._total = total_seconds
        self._ends_at = clock() + total_seconds

    def limits(self) -> StatementLimits:
        """The limits of a statement that starts now."""
        left = self._ends_at - self._clock()
        grace = min(max(_SHARE_OF_GRACE * self._total, _LEAST_GRACE), _MOST_GRACE)
        statement = min(self._statement, max(left, grace))
        lock = min(limits_of(statement).lock, max(left, _GRACE_FOR_LOCKS))
        return StatementLimits(statement, lock)

    def connecting(self, patience: float) -> float:
        """How long to keep trying to connect, at most *patience*; in seconds."""
        left = self._ends_at - self._clock()
        return min(patience, max(left, _GRACE_FOR_CONNECTING))


def seconds_for_an_address(patience: float) -> int:
    """How long to try one of a host's addresses, of all the time there is."""
    most = max(patience, 0.0)
    seconds = max(most / 2, min(most, _LEAST_SECONDS_FOR_AN_ADDRESS))
    return max(int(min(seconds, _MOST_SECONDS_FOR_AN_ADDRESS)), 1)


def _milliseconds(seconds: float) -> int:
    # 0 would mean that there is no limit.
    return max(round(seconds * 1000), 1)
