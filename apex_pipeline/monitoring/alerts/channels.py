"""The journal with the configured channels, and how each channel gets what is due."""

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE, Journal
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
from apex_pipeline.settings import (
    AlertSettings,
    DataverseSettings,
    Tenant,
    load_alert_settings,
    load_dagster_url,
    load_dataverse,
    load_journal_name,
    load_tenant,
    read_variable,
    token_cache_path,
)

logger = logging.getLogger(__name__)

NO_CHANNEL = (
    "No alert channel is configured here. Set APEX_TEAMS_WEBHOOK_URL, or "
    "APEX_ALERT_EMAIL_TO, APEX_ALERT_EMAIL_FROM and APEX_SMTP_URL."
)

LEAST_SECONDS = 10.0
"""Minimum time left to start a send, so an accepted message is not recorded as
failed."""


class ReachableChannel(Channel, Protocol):
    """A channel whose connection can be checked without sending anything."""

    def reach(self, seconds: float) -> str:
        """Connect as far as possible without sending; describe how far.

        Raises:
            DeliveryError: A send would fail.
        """
        ...


class Outbox(Protocol):
    """Where notices wait: the `StoredOutbox`, or memory while it is down."""

    def claim(self, channel: str) -> Notice | None:
        """Take the next notice that is due for a channel; None if there is none."""

    def delivered(self, notice: Notice) -> None:
        """Record that the channel accepted it."""

    def failed(self, notice: Notice, error: str, retry_after: float | None) -> None:
        """Record the failure, and when to retry."""


@dataclass(frozen=True, slots=True)
class NoticeDelivery:
    """The outcome of sending to one channel.

    Attributes:
        taken: Notices that it accepted.
        error: Why it did not accept the last one; None if it accepted all.
    """

    channel: str
    taken: int
    error: str | None


def channels(
    settings: AlertSettings,
    application: Callable[[], DataverseSettings],
    token_cache: Path,
) -> list[ReachableChannel]:
    """The configured channels; may be empty.

    Args:
        settings: Which channels, and how to reach them.
        application: Reads the application for Microsoft Graph. Called only to send mail
            through Graph, so a mistake there does not affect Teams.
        token_cache: Token file that all processes share.
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


@dataclass(frozen=True, slots=True)
class TenantChannel:
    """A channel whose notices name the tenant that they are about."""

    channel: ReachableChannel
    tenant: Tenant

    @property
    def name(self) -> str:
        return self.channel.name

    def send(self, notice: Notice) -> None:
        """Send a notice with the tenant in its title and among its facts."""
        named = replace(
            notice,
            title=self.tenant.title(notice.title),
            facts=(("Tenant", self.tenant.name), *notice.facts),
        )
        self.channel.send(named)

    def reach(self, seconds: float) -> str:
        return self.channel.reach(seconds)


def of_tenant(
    found: Sequence[ReachableChannel], tenant: Tenant
) -> list[ReachableChannel]:
    """The channels as a tenant uses them; without a tenant, as they are."""
    return [TenantChannel(each, tenant) for each in found] if tenant.name else [*found]


def send_test_notice(
    ways: Sequence[Channel], now: datetime, *, link: str | None = None
) -> list[NoticeDelivery]:
    """Send one test notice through each channel, all at once."""
    notice = Notice(
        key=f"test-{uuid4()}",
        kind=NoticeKind.TEST,
        severity=Severity.WARNING,
        title="this channel works",
        cause="",
        remedy="No action is needed: this message was sent to test the channel.",
        facts=(("Asked for on", platform.node()),),
        link=link,
        at=now,
    )

    def send(way: Channel) -> NoticeDelivery:
        try:
            _try(way, notice)
        except DeliveryError as error:
            return NoticeDelivery(way.name, 0, str(error))
        return NoticeDelivery(way.name, 1, None)

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
) -> list[NoticeDelivery]:
    """Send what is due through all channels at once, in bounded time.

    Args:
        outbox: Where notices wait.
        channels: All that are configured.
        seconds: For everything. A channel that has not accepted a notice by then has
            failed.
        least: With less time left, no message is started.

    Raises:
        DatabaseError: The outbox cannot be used.
    """
    deadline = time.monotonic() + seconds

    def send(channel: Channel) -> NoticeDelivery:
        return _deliver_to(outbox, channel, deadline, least)

    if not channels:
        return []
    with ThreadPoolExecutor(len(channels), thread_name_prefix="channel") as pool:
        return list(pool.map(send, channels))


def _deliver_to(
    outbox: Outbox, channel: Channel, deadline: float, least: float
) -> NoticeDelivery:
    taken = 0
    while time.monotonic() + least <= deadline:
        notice = outbox.claim(channel.name)
        if notice is None:
            break
        try:
            _send(channel, notice, deadline - time.monotonic())
        except DeliveryError as error:
            outbox.failed(notice, str(error), error.retry_after)
            # It would probably refuse the next one too.
            return NoticeDelivery(channel.name, taken, str(error))
        outbox.delivered(notice)
        taken += 1
    return NoticeDelivery(channel.name, taken, None)


def _send(channel: Channel, notice: Notice, seconds: float) -> None:
    try:
        within(seconds, lambda: _try(channel, notice))
    except TimeoutError:
        raise DeliveryError(
            f"It did not accept the notice within {seconds:.0f} s."
        ) from None


def _try(channel: Channel, notice: Notice) -> None:
    """Send, and report whatever goes wrong as a failure of this channel alone.

    Alerts also tell of faults in this code. One in a channel must not keep the notice
    from the others, nor stop the heartbeat, which would tell of another fault.

    Raises:
        DeliveryError: The channel did not accept the notice.
    """
    try:
        channel.send(notice)
    except DeliveryError:
        raise
    except Exception as error:
        logger.exception("sending by %s failed in an unforeseen way", channel.name)
        raise DeliveryError(
            f"Sending failed in an unforeseen way: {type(error).__name__}. The log has "
            "the traceback; report it as a fault of the pipeline."
        ) from error


@dataclass(frozen=True, slots=True)
class Alerts:
    """An open journal, and the channels.

    Attributes:
        dagster_url: Address of the Dagster UI; None if unknown.
    """

    journal: Journal
    channels: Sequence[Channel]
    settings: AlertSettings = field(repr=False)
    dagster_url: str | None = None

    @property
    def names(self) -> list[str]:
        return [channel.name for channel in self.channels]

    def page(self, path: str) -> str | None:
        """Address of a page in the Dagster UI; None if the UI's address is unknown."""
        return self.dagster_url and f"{self.dagster_url}/{path}"


def configured_channels(environment: Mapping[str, str]) -> list[ReachableChannel]:
    """The configured channels.

    Raises:
        ConfigError: A variable is malformed or missing.
    """
    found = channels(
        load_alert_settings(environment),
        partial(load_dataverse, environment),
        token_cache_path(environment),
    )
    return of_tenant(found, load_tenant(environment))


@contextmanager
def open_alerts(environment: Mapping[str, str]) -> Iterator[Alerts]:
    """Open what alerts need, as the environment says; sends nothing.

    Raises:
        ConfigError: A variable is missing or malformed.
    """
    url = read_variable(environment, VARIABLE)
    if not url:
        raise ConfigError(NO_JOURNAL)
    with Journal(url, load_journal_name(environment)) as journal:
        yield Alerts(
            journal,
            configured_channels(environment),
            load_alert_settings(environment),
            load_dagster_url(environment),
        )
