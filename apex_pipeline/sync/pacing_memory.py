"""Carry pacing from one run to the next; each run is a new process.

Dataverse's limits count over five minutes, which is longer than a run.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.request_size import RequestSize
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.postgres.store import Store
from apex_pipeline.settings import DataverseSettings


@dataclass(frozen=True, slots=True)
class PacingState:
    """A pacer's state at one instant; another thread may store it.

    Attributes:
        retry_at: When Dataverse accepts requests again, if it throttled us.
    """

    snapshot: dict[str, object]
    retry_at: datetime | None


class PacingMemory:
    """The stored pacing of one application in one environment.

    Attributes:
        refusal: Why a run left this application user out last; empty if it works.
    """

    def __init__(self, store: Store, key: str, now: Callable[[], datetime]) -> None:
        """Remember the store; nothing is read yet.

        Args:
            store: Where the state is stored.
            key: The application and environment that the limits apply to.
            now: The clock; aware, UTC.
        """
        self._store = store
        self._key = key
        self._now = now
        # A run without bulk requests, such as reconcile, passes the stored size on.
        self._size: object = None
        self.refusal = ""

    def restored(
        self, pacer: Pacer | None = None, size: RequestSize | None = None
    ) -> Pacer:
        """Restore recent usage into a pacer.

        Args:
            pacer: The pacer to restore into; a default one if None.
            size: Also receives the request size that worked best lately.
        """
        pacer = pacer or Pacer()
        saved = self._store.ask(stored_pacing.pacing, self._key)
        if saved is not None:
            saved_at = float(str(saved.get("saved_at", 0.0)))
            age = self._now().timestamp() - saved_at
            pacer.restore(time.monotonic(), saved, age)
            self._size = saved.get("request_size")
            self.refusal = str(saved.get("refusal") or "")
            if size is not None:
                size.restore(self._size)
        return pacer

    def state(self, pacer: Pacer, size: RequestSize | None = None) -> PacingState:
        """The state of a pacer and a request size to store, as of now."""
        monotonic, now = time.monotonic(), self._now()
        paused_for = pacer.paused_for(monotonic)
        return PacingState(
            pacer.snapshot(monotonic)
            | {
                "saved_at": now.timestamp(),
                "request_size": self._size if size is None else size.snapshot(),
                "refusal": self.refusal,
            },
            now + timedelta(seconds=paused_for) if paused_for else None,
        )

    def save(self, state: PacingState) -> None:
        """Store the state for the next run."""
        self._store.ask(
            stored_pacing.save_pacing, self._key, state.snapshot, state.retry_at
        )


def pacing_key(settings: DataverseSettings) -> str:
    """Identify a budget: limits apply to one application user in one environment."""
    return f"{settings.resource} {settings.client_id}"


def pacing_keys(settings: DataverseSettings) -> list[str]:
    """The budgets of all application users."""
    return [pacing_key(user) for user in settings.users]
