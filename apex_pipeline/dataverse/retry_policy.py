"""How often a request is retried, and when."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is retried, and how long to wait in between.

    The wait doubles from `first_wait` to `longest_wait` and is cut by up to half at
    random, so that many senders do not return together. A 429 does not count as an
    attempt: the service itself says when to return. A retry may start up to `grace`
    seconds after the deadline.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 20.0
    grace: float = 0.0

    def wait(self, attempt: int, chance: float) -> float:
        """Seconds to wait after the given attempt (1 is the first)."""
        wait = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_wait)
        return wait * (1 - chance / 2)
