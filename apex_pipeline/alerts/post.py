"""Handing over what is due: each channel in a thread of its own, in bounded time."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from apex_pipeline.alerts.journal import Journal
from apex_pipeline.alerts.notice import Channel, DeliveryError


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
    journal: Journal, channels: Sequence[Channel], seconds: float
) -> list[Delivery]:
    """Send all that is due, each channel beside the others.

    Args:
        journal: Where notices wait.
        channels: All that are configured.
        seconds: After so many no other notice is begun.

    Raises:
        DatabaseError: The journal cannot be used.
    """
    deadline = time.monotonic() + seconds

    def send(channel: Channel) -> Delivery:
        return _deliver_to(journal, channel, deadline)

    if not channels:
        return []
    with ThreadPoolExecutor(len(channels), thread_name_prefix="channel") as pool:
        return list(pool.map(send, channels))


def _deliver_to(journal: Journal, channel: Channel, deadline: float) -> Delivery:
    taken = 0
    while time.monotonic() < deadline:
        waiting = journal.claim(channel.name)
        if waiting is None:
            break
        try:
            channel.send(waiting.notice)
        except DeliveryError as error:
            journal.failed(waiting, str(error), error.retry_after)
            # It will hardly take the next one, which is due again all the sooner.
            return Delivery(channel.name, taken, str(error))
        journal.delivered(waiting)
        taken += 1
    return Delivery(channel.name, taken, None)
