"""The ways to people: configured, and reachable as far as nobody notices."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.channels import (
    ReachableChannel,
    channels,
    send_test_notice,
)
from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Finding,
    failed,
    not_checked,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.configuration import Configuration
from apex_pipeline.monitoring.doctor.credentials import DIRECTORY_SECONDS
from apex_pipeline.settings import (
    AlertSettings,
    DataverseSettings,
    load_alert_settings,
)

LINE = "alert channels"

_REMEDY = "Do what the message says; docs/alerts.md shows how to set up each channel."
_NONE = (
    "Nobody is told when the sync stops. Set APEX_TEAMS_WEBHOOK_URL, or "
    "APEX_ALERT_EMAIL_TO, APEX_ALERT_EMAIL_FROM and APEX_SMTP_URL."
)


def checks(
    configuration: Configuration,
    token_cache: Path,
    now: Callable[[], datetime],
    *,
    send_test: bool,
) -> Iterator[Check]:
    """A line for what is configured, one for each channel, one for the heartbeat.

    A channel by itself turns no other line red, and Microsoft Graph is not blamed for
    credentials that give no token to anybody.
    """
    settings, malformed = _read(configuration)
    ways = channels(
        settings, partial(_application, configuration.dataverse), token_cache
    )
    yield Check(
        LINE,
        "at least one configured",
        _REMEDY,
        lambda: malformed or _configured(ways),
    )
    token = "token" if configuration.dataverse else "configuration"
    for way in ways:
        yield Check(
            f"alerts by {way.name}",
            "takes a test message" if send_test else "reachable",
            _REMEDY,
            partial(_try, way, now, send_test=send_test),
            (token,) if isinstance(way, GraphMail) else (),
        )
    if settings.heartbeat_url is not None:
        yield Check(
            "heartbeat",
            "reachable",
            "Check APEX_HEARTBEAT_URL, and that it can be reached from here.",
            partial(_heartbeat, settings.heartbeat_url, settings.ca_bundle),
        )


def _read(configuration: Configuration) -> tuple[AlertSettings, Finding | None]:
    """The settings; where they are wrong, which the first line says, none."""
    try:
        return load_alert_settings(configuration.environment), None
    except ConfigError:
        return AlertSettings(), not_checked("configuration")


def _application(found: DataverseSettings | None) -> DataverseSettings:
    if found is None:
        raise ConfigError("The application is not configured.")
    return found


def _configured(ways: list[ReachableChannel]) -> Finding:
    if not ways:
        return warning("none is configured", _NONE)
    return ok(", ".join(way.name for way in ways))


def _try(
    way: ReachableChannel, now: Callable[[], datetime], *, send_test: bool
) -> Finding:
    if not send_test:
        return ok(way.reach(DIRECTORY_SECONDS))
    (outcome,) = send_test_notice([way], now())
    return failed(outcome.error) if outcome.error else ok("took a test message")


def _heartbeat(url: str, ca_bundle: Path | None) -> Finding:
    """Connect only: a ping would say that the sync is well, which nobody knows here.

    Raises:
        DeliveryError: It cannot be reached.
    """
    seconds = webhook.reach(url, ca_bundle=ca_bundle, seconds=DIRECTORY_SECONDS)
    return ok(f"connected in {1000 * seconds:,.0f} ms, not pinged")
