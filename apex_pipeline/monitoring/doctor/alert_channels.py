"""Checks of the alert channels: configured, and reachable without sending anything."""

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.channels import (
    ReachableChannel,
    channels,
    of_tenant,
    send_test_notice,
)
from apex_pipeline.monitoring.alerts.graph_mail import GraphMail
from apex_pipeline.monitoring.doctor.check_results import (
    Check,
    Measurement,
    failed,
    not_checked,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.configuration import Configuration
from apex_pipeline.monitoring.doctor.credential_checks import DIRECTORY_SECONDS
from apex_pipeline.settings import (
    AlertSettings,
    DataverseSettings,
    load_alert_settings,
    load_tenant,
)

LINE = "alert channels"

_REMEDY = "Follow the message; docs/alerts.md shows how to set up each channel."
_NONE = (
    "No notice is sent when the sync stops. Set APEX_TEAMS_WEBHOOK_URL, or "
    "APEX_ALERT_EMAIL_TO, APEX_ALERT_EMAIL_FROM and APEX_SMTP_URL."
)


def checks(
    configuration: Configuration,
    token_cache: Path,
    now: Callable[[], datetime],
    *,
    send_test: bool,
) -> Iterator[Check]:
    """Yield a check of the configuration, one per channel, and one of the heartbeat.

    No other check depends on a channel. Mail through Microsoft Graph depends on the
    token, so it is not blamed for wrong credentials.
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
    tenant = load_tenant(configuration.environment)
    for way, named in zip(ways, of_tenant(ways, tenant), strict=True):
        yield Check(
            f"alerts by {way.name}",
            "accepts a test message" if send_test else "reachable",
            _REMEDY,
            partial(_try, named, now, send_test=send_test),
            (token,) if isinstance(way, GraphMail) else (),
        )
    if settings.heartbeat_url is not None:
        yield Check(
            "heartbeat",
            "reachable",
            "Check APEX_HEARTBEAT_URL, and that it can be reached from here.",
            partial(_heartbeat, settings.heartbeat_url, settings.ca_bundle),
        )


def _read(configuration: Configuration) -> tuple[AlertSettings, Measurement | None]:
    """Read the settings; if they are wrong, the check `configuration` says so."""
    try:
        return load_alert_settings(configuration.environment), None
    except ConfigError:
        return AlertSettings(), not_checked("configuration")


def _application(found: DataverseSettings | None) -> DataverseSettings:
    if found is None:
        raise ConfigError("The application is not configured.")
    return found


def _configured(ways: list[ReachableChannel]) -> Measurement:
    if not ways:
        return warning("none configured", _NONE)
    return ok(", ".join(way.name for way in ways))


def _try(
    way: ReachableChannel, now: Callable[[], datetime], *, send_test: bool
) -> Measurement:
    if not send_test:
        return ok(way.reach(DIRECTORY_SECONDS))
    (outcome,) = send_test_notice([way], now())
    return failed(outcome.error) if outcome.error else ok("accepted a test message")


def _heartbeat(url: str, ca_bundle: Path | None) -> Measurement:
    """Only connect: a ping would claim that the sync is healthy.

    Raises:
        DeliveryError: The address cannot be reached.
    """
    seconds = webhook.reach(url, ca_bundle=ca_bundle, seconds=DIRECTORY_SECONDS)
    return ok(f"connected in {1000 * seconds:,.0f} ms, not pinged")
