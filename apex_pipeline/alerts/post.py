"""Handing over what is due: each channel in a thread of its own, in bounded time."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from apex_pipeline.alerts.notice import Channel, DeliveryError
from apex_pipeline.alerts.outbox import Waiting


class Outbox(Protocol):
    """Where notices wait; `Journal`, or memory while that cannot be used."""

    def claim(self, channel: str) -> Waiting | None:
        """Take the next notice that is due to a channel; None if there is none."""

    def delivered(self, waiting: Waiting) -> None:
        """Note that the channel took it."""

    def failed(self, waiting: Waiting, error: str, retry_after: float | None) -> None:
        """Note that the channel did not take it, and when to try again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of the notices that were due to one channel.

    Attributes:
        error: Why the last one was not taken; None if all were.
    """

    channel: str
    taken: int
    error: str | None


def deliver(
    outbox: Outbox, channels: Sequence[Channel], seconds: float
) -> list[Delivery]:
    """Send all that is due, each channel beside the others.

    Args:
        outbox: Where notices wait.
        channels: All that are configured.
        seconds: After so many no other notice is begun.

    Raises:
        DatabaseError: The outbox cannot be used.
    """
    deadline = time.monotonic() + seconds

    def send(channel: Channel) -> Delivery:
        return _deliver_to(outbox, channel, deadline)

    if not channels:
        return []
    with ThreadPoolExecutor(len(channels), thread_name_prefix="channel") as pool:
        return list(pool.map(send, channels))


def _deliver_to(outbox: Outbox, channel: Channel, deadline: float) -> Delivery:
    taken = 0
    while time.monotonic() < deadline:
        waiting = outbox.claim(channel.name)
        if waiting is None:
            break
        try:
            channel.send(waiting.notice)
        except DeliveryError as error:
            outbox.failed(waiting, str(error), error.retry_after)
            # It will hardly take the next one, which is due again all the sooner.
            return Delivery(channel.name, taken, str(error))
        outbox.delivered(waiting)
        taken += 1
    return Delivery(channel.name, taken, None)
