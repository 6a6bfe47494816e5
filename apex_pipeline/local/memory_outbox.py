"""Notices that wait in memory while the journal is down."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from apex_pipeline.monitoring.alerts.notice import Notice
from apex_pipeline.monitoring.alerts.outbox import pause


class MemoryOutbox:
    """Pending notices while the journal is down; the channels' threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, tuple[str, datetime, Notice]] = {}

    def put(self, notice: Notice, channels: Sequence[str]) -> None:
        """Queue a notice for each of these channels."""
        with self._lock:
            for channel in channels:
                self._number += 1
                queued = replace(notice, number=self._number, attempts=1)
                self._waiting[self._number] = channel, datetime.now(UTC), queued

    def claim(self, channel: str) -> Notice | None:
        """The first notice if it is due for a channel; one thread serves a channel."""
        with self._lock:
            first = next((w for w in self._waiting.values() if w[0] == channel), None)
        if first is None or first[1] > datetime.now(UTC):
            return None
        return first[2]

    def delivered(self, notice: Notice) -> None:
        with self._lock:
            del self._waiting[notice.number]

    def failed(self, notice: Notice, error: str, retry_after: float | None) -> None:  # noqa: ARG002  not shown anywhere
        """Keep a notice for the next attempt."""
        due = datetime.now(UTC) + pause(notice.attempts, retry_after)
        again = replace(notice, attempts=notice.attempts + 1)
        with self._lock:
            channel, *_ = self._waiting[notice.number]
            self._waiting[notice.number] = channel, due, again
