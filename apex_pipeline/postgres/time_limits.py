"""How long Postgres may take, by the budget that a statement belongs to; pure."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

STATEMENT_SECONDS = 300.0
"""The most that one statement may take where its caller sets no limit of its own."""

# Postgres reports whichever limit comes first, and that it was the lock explains more.
_SHARE_OF_LOCKS = 0.9
_MOST_FOR_LOCKS = 240.0

# What comes after the end of a budget writes down what was achieved within it.
_LEAST_GRACE, _MOST_GRACE, _SHARE_OF_GRACE = 5.0, 20.0, 0.25
_GRACE_FOR_LOCKS = 1.5
_GRACE_FOR_CONNECTING = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one statement may take; seconds.

    Attributes:
        statement: In all.
        lock: Waiting for a lock that somebody else holds.
    """

    statement: float
    lock: float

    @property
    def settings(self) -> str:
        """SQL that sets both until the transaction ends; a pooler keeps nothing."""
        return (
            f"SET LOCAL statement_timeout = {_milliseconds(self.statement)}; "
            f"SET LOCAL lock_timeout = {_milliseconds(self.lock)}"
        )


def limits_of(seconds: float) -> Limits:
    """The limits of a statement that may take so long in all."""
    return Limits(seconds, min(_SHARE_OF_LOCKS * seconds, _MOST_FOR_LOCKS))


class Budget:
    """The time that all statements of one piece of work share.

    After its end each statement still gets a quarter of it, 5 to 20 seconds, and 1.5
    seconds for locks.
    """

    def __init__(
        self,
        statement_seconds: float = STATEMENT_SECONDS,
        total_seconds: float = math.inf,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to spend.

        Args:
            statement_seconds: The most for one statement.
            total_seconds: For all together, from now on.
            clock: Monotonic seconds.
        """
        self._clock = clock
        self._statement = statement_seconds
        self._total = total_seconds
        self._ends_at = clock() + total_seconds

    def limits(self) -> Limits:
        """The limits of a statement that begins now."""
        left = self._ends_at - self._clock()
        grace = min(max(_SHARE_OF_GRACE * self._total, _LEAST_GRACE), _MOST_GRACE)
        statement = min(self._statement, max(left, grace))
        lock = min(limits_of(statement).lock, max(left, _GRACE_FOR_LOCKS))
        return Limits(statement, lock)

    def connecting(self, patience: float) -> float:
        """How long to go on trying to connect, for who has *patience*; seconds."""
        left = self._ends_at - self._clock()
        return min(patience, max(left, _GRACE_FOR_CONNECTING))


def _milliseconds(seconds: float) -> int:
    # 0 would mean that there is no limit.
    return max(round(seconds * 1000), 1)
