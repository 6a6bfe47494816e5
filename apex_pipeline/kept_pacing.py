"""What one process has learned of Dataverse's limits, kept in Postgres for the next."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.store import Store


@dataclass(frozen=True, slots=True)
class PacingState:
    """A pacer's state at one instant, which another thread may store."""

    snapshot: dict[str, object]
    retry_at: datetime | None

    @classmethod
    def of(cls, pacer: Pacer) -> "PacingState":
        """The state now."""
        now = time.monotonic()
        paused_for = pacer.paused_for(now)
        retry_at = datetime.now(UTC) + timedelta(seconds=paused_for)
        return cls(
            pacer.snapshot(now) | {"saved_at": time.time()},
            retry_at if paused_for else None,
        )


def restore_pacing(store: Store, key: str, pacer: Pacer) -> Pacer:
    """Tell a new pacer what another process has left; returns it."""
    saved = store.pacing(key)
    if saved is not None:
        age = time.time() - float(str(saved.get("saved_at", 0.0)))
        pacer.restore(time.monotonic(), saved, age)
    return pacer


def save_pacing(store: Store, key: str, state: PacingState) -> None:
    """Keep a pacer's state for the next process."""
    store.save_pacing(key, state.snapshot, state.retry_at)
