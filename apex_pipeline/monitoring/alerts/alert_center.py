"""What alerts need: the journal of incidents, and the channels."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.documented_success import Documented
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.channels import (
    ReachableChannel,
    channels,
    of_tenant,
)
from apex_pipeline.monitoring.alerts.journal import NO_JOURNAL, VARIABLE, Journal
from apex_pipeline.monitoring.alerts.notice import Channel, DeliveryError
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.settings import (
    AlertSettings,
    load_alert_settings,
    load_dagster_url,
    load_dataverse,
    load_journal_name,
    load_tenant,
    read_variable,
    token_cache_path,
)

NO_CHANNEL = (
    "No alert channel is configured here. Set APEX_TEAMS_WEBHOOK_URL, or "
    "APEX_ALERT_EMAIL_TO, APEX_ALERT_EMAIL_FROM and APEX_SMTP_URL."
)

_SAYS_NOTHING = re.compile(rb"\s*(\{\s*\}|\[.*\]|null|\"\")?\s*", re.DOTALL)
_COMPLAINT = re.compile(rb"error|not found|rate limited|\"ok\":\s*false", re.IGNORECASE)
_QUEUED_BY_THE_SERVICE = re.compile(rb"got it|pong", re.IGNORECASE)


def _counts(answer: Answer) -> bool:
    """Whether a heartbeat service says that it took the ping."""
    if answer.status == 204:
        return not answer.body.strip()
    if answer.is_page or _SAYS_NOTHING.fullmatch(answer.body):
        return False
    if answer.status == 202 and not _QUEUED_BY_THE_SERVICE.search(answer.body):
        return False
    return _COMPLAINT.search(answer.body) is None


# What services document: 200 `OK` or a JSON object (Healthchecks.io, Cronitor, Uptime
# Kuma); 201 `Created` (Healthchecks.io, for a check that the ping creates); 202 with
# `Got it, thanks!` (Dead Man's Snitch) or `PONG` (Opsgenie); 204 (StatusCloud).
# Healthchecks.io also answers 200 with `OK (not found)` and `OK (rate limited)`, and a
# gateway that queues requests answers 202.
_PINGED = Documented(
    frozenset({200, 201, 202, 204}),
    shape=_counts,
    shape_text="the service's word that the ping counts",
)


@dataclass(frozen=True, slots=True)
class Station:
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
        """Names of the channels."""
        return [channel.name for channel in self.channels]

    def page(self, path: str) -> str | None:
        """Address of a page in the Dagster UI; None if the UI's address is unknown."""
        return self.dagster_url and f"{self.dagster_url}/{path}"

    def ping(self, seconds: float) -> None:
        """Ping the external dead man's switch, if one is configured.

        Raises:
            DeliveryError: It did not accept the ping in time.
        """
        url = self.settings.heartbeat_url
        if url is None:
            return
        bundle = self.settings.ca_bundle
        try:
            answer = within(seconds, lambda: webhook.call("GET", url, ca_bundle=bundle))
        except TimeoutError:
            raise DeliveryError(f"no answer within {seconds:.0f} s") from None
        if (amiss := _PINGED(answer)) is not None:
            raise DeliveryError(f"it answers {answer.looks()}, which lacks {amiss}")


def ways(environment: Mapping[str, str]) -> list[ReachableChannel]:
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
def open_station(environment: Mapping[str, str]) -> Iterator[Station]:
    """Open what alerts need, as the environment says; sends nothing.

    Raises:
        ConfigError: A variable is missing or malformed.
    """
    url = read_variable(environment, VARIABLE)
    if not url:
        raise ConfigError(NO_JOURNAL)
    with Journal(url, load_journal_name(environment)) as journal:
        yield Station(
            journal,
            ways(environment),
            load_alert_settings(environment),
            load_dagster_url(environment),
        )
