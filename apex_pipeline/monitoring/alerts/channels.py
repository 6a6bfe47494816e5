"""The configured ways to people, and a test of them."""

import platform
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
from apex_pipeline.monitoring.alerts.smtp import SmtpMail
from apex_pipeline.monitoring.alerts.teams import Teams
from apex_pipeline.settings import AlertSettings, DataverseSettings


class ReachableChannel(Channel, Protocol):
    """A way to people that can be looked at without sending anything."""

    def reach(self, seconds: float) -> str:
        """Go as far as nobody notices, and say how far that was.

        Raises:
            DeliveryError: It was not far enough to send.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a test message.

    Attributes:
        channel: Whose it was.
        error: Why it was not taken; None if it was.
    """

    channel: str
    error: str | None = None


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
) -> list[Outcome]:
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

    def send(way: Channel) -> Outcome:
        try:
            way.send(notice)
        except DeliveryError as error:
            return Outcome(way.name, str(error))
        return Outcome(way.name)

    if not ways:
        return []
    with ThreadPoolExecutor(len(ways), thread_name_prefix="channel") as pool:
        return list(pool.map(send, ways))
