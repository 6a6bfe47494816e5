"""Handing over what is due: each channel in a thread of its own, in bounded time."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from apex_pipeline.monitoring.alerts.notice import Channel, DeliveryError, Notice
from apex_pipeline.monitoring.alerts.outbox import Waiting
from apex_pipeline.monitoring.alerts.send_limits import within

LEAST_SECONDS = 10.0
"""A channel has an answer by then; what it has taken must not be given up."""


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
    outbox: Outbox,
    channels: Sequence[Channel],
    seconds: float,
    *,
    least: float = LEAST_SECONDS,
) -> list[Delivery]:
    """Send what is due, each channel beside the others, and end in time.

    Args:
        outbox: Where notices wait.
        channels: All that are configured.
        seconds: For all of it, whatever the channels do; those that have not taken a
            notice by then have failed to.
        least: With less time left no message is begun.

    Raises:
        DatabaseError: The outbox cannot be used.
    """
    deadline = time.monotonic() + seconds

    def send(channel: Channel) -> Delivery:
        return _deliver_to(outbox, channel, deadline, least)

    if not channels:
        return []
    with ThreadPoolExecutor(len(channels), thread_name_prefix="channel") as pool:
        return list(pool.map(send, channels))


def _deliver_to(
    outbox: Outbox, channel: Channel, deadline: float, least: float
) -> Delivery:
    taken = 0
    while time.monotonic() + least <= deadline:
        waiting = outbox.claim(channel.name)
        if waiting is None:
            break
        try:
            _send(channel, waiting.notice, deadline - time.monotonic())
        except DeliveryError as error:
            outbox.failed(waiting, str(error), error.retry_after)
            # It will hardly take the next one, which is due again all the sooner.
            return Delivery(channel.name, taken, str(error))
        outbox.delivered(waiting)
        taken += 1
    return Delivery(channel.name, taken, None)


def _send(channel: Channel, notice: Notice, seconds: float) -> None:
    try:
        within(seconds, lambda: channel.send(notice))
    except TimeoutError:
        raise DeliveryError(f"It did not take it within {seconds:.0f} s.") from None
