"""Time as the emulator sees it; tests make it pass."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as the emulator sees it.

    Attributes:
        now: Seconds since the epoch.
        sleep: Lets simulated work take its time.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def instant(self) -> str:
        """Now, as date and time columns store it."""
        return f"{datetime.fromtimestamp(self.now(), UTC):%Y-%m-%dT%H:%M:%SZ}"
