"""The configured channels, and how they get what is due: each in its own thread."""

import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.alerts.notice import (
    Channel,
    DeliveryError,
    Notice,
    NoticeKind,
    Severity,
)
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.monitoring.alerts.smtp import SmtpMail
from apex_pipeline.monitoring.alerts.teams import Teams
from apex_pipeline.settings import AlertSettings, DataverseSettings

LEAST_SECONDS = 10.0
"""A channel has an answer by then; what it has taken must not be given up."""


class ReachableChannel(Channel, Protocol):
    """A way to people that can be looked at without sending anything."""

    def reach(self, seconds: float) -> str:
        """Go as far as nobody notices, and say how far that was.

        Raises:
            DeliveryError: It was not far enough to send.
        """
        ...


class Outbox(Protocol):
    """Where notices wait; `Journal`, or memory while that cannot be used."""

    def claim(self, channel: str) -> Notice | None:
        """Take the next notice that is due to a channel; None if there is none."""

    def delivered(self, notice: Notice) -> None:
        """Note that the channel took it."""

    def failed(self, notice: Notice, error: str, retry_after: float | None) -> None:
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


def channels(
    settings: AlertSettings,
    application: Callable[[], DataverseSettings],
    token_cache: Path,
) -> list[ReachableChannel]:
    """The ways that are configured; none is an empty list.

    Args:
        settings: What is configured.
        application: Reads the application that Microsoft Graph is to know. Asked only
            when mail is sent through Graph, so that a mistake there leaves Teams alone.
        token_cache: File that keeps tokens for all processes.
    """
    found: list[ReachableChannel] = []
    if settings.teams_url is not None:
        found.append(Teams(settings.teams_url, settings.ca_bundle))
    mail = settings.mail
    if mail is not None and mail.smtp is not None:
        found.append(SmtpMail(mail, mail.smtp, settings.ca_bundle))
    elif mail is not None:
        found.append(GraphMail(mail, application, token_cache))
    return found


def send_test_notice(
    ways: Sequence[Channel], now: datetime, *, link: str | None = None
) -> list[Delivery]:
    """Send one test notice through each, all at once; none waits for another."""
    notice = Notice(
        key=f"test-{uuid4()}",
        kind=NoticeKind.TEST,
        severity=Severity.WARNING,
        title="this channel works",
        cause="",
        remedy="Nothing has to be done. Somebody asked whether alerts arrive here.",
        facts=(("Asked for on", platform.node()),),
        link=link,
        at=now,
    )

    def send(way: Channel) -> Delivery:
        try:
            way.send(notice)
        except DeliveryError as error:
            return Delivery(way.name, 0, str(error))
        return Delivery(way.name, 1, None)

    if not ways:
        return []
    with ThreadPoolExecutor(len(ways), thread_name_prefix="channel") as pool:
        return list(pool.map(send, ways))


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
        notice = outbox.claim(channel.name)
        if notice is None:
            break
        try:
            _send(channel, notice, deadline - time.monotonic())
        except DeliveryError as error:
            outbox.failed(notice, str(error), error.retry_after)
            # It will hardly take the next one, which is due again all the sooner.
            return Delivery(channel.name, taken, str(error))
        outbox.delivered(notice)
        taken += 1
    return Delivery(channel.name, taken, None)


def _send(channel: Channel, notice: Notice, seconds: float) -> None:
    try:
        within(seconds, lambda: channel.send(notice))
    except TimeoutError:
        raise DeliveryError(f"It did not take it within {seconds:.0f} s.") from None
