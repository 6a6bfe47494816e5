"""What one run leaves the next of its pacing, each run being a new process.

Dataverse's limits count over five minutes, which is longer than a run.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.request_size import RequestSize
from apex_pipeline.postgres.store import Store


@dataclass(frozen=True, slots=True)
class PacingState:
    """A pacer's state at one instant, which another thread may store.

    Attributes:
        retry_at: When Dataverse takes requests again, if it asked us to wait.
    """

    snapshot: dict[str, object]
    retry_at: datetime | None


class PacingMemory:
    """The stored state of one application in one environment."""

    def __init__(self, store: Store, key: str, now: Callable[[], datetime]) -> None:
        """Keep where it is stored; nothing is read yet.

        Args:
            store: Where it is stored.
            key: Whose budget it is.
            now: The clock; aware, UTC.
        """
        self._store = store
        self._key = key
        self._now = now
        # A run that sends no bulk requests, such as reconcile, hands on what it found.
        self._size: object = None

    def restored(
        self, pacer: Pacer | None = None, size: RequestSize | None = None
    ) -> Pacer:
        """The pacer, else one of the usual kind, that knows what was used lately.

        Args:
            pacer: What is to know it.
            size: What is to know the request size that was best lately.
        """
        pacer = pacer or Pacer()
        saved = self._store.pacing(self._key)
        if saved is not None:
            saved_at = float(str(saved.get("saved_at", 0.0)))
            age = self._now().timestamp() - saved_at
            pacer.restore(time.monotonic(), saved, age)
            self._size = saved.get("request_size")
            if size is not None:
                size.restore(self._size)
        return pacer

    def state(self, pacer: Pacer, size: RequestSize | None = None) -> PacingState:
        """What is to be kept of a pacer, and of a request size, at this instant."""
        monotonic, now = time.monotonic(), self._now()
        paused_for = pacer.paused_for(monotonic)
        return PacingState(
            pacer.snapshot(monotonic)
            | {
                "saved_at": now.timestamp(),
                "request_size": self._size if size is None else size.snapshot(),
            },
            now + timedelta(seconds=paused_for) if paused_for else None,
        )

    def save(self, state: PacingState) -> None:
        """Keep it for the next run."""
        self._store.save_pacing(self._key, state.snapshot, state.retry_at)
