"""The ping of the external dead man's switch."""

import re

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.documented_success import Documented
from apex_pipeline.microsoft.http_answer import Answer
from apex_pipeline.monitoring.alerts import webhook
from apex_pipeline.monitoring.alerts.notice import DeliveryError
from apex_pipeline.monitoring.alerts.send_limits import within
from apex_pipeline.settings import AlertSettings

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


def ping(settings: AlertSettings, seconds: float) -> None:
    """Ping the dead man's switch, if one is configured.

    Raises:
        DeliveryError: It did not accept the ping in time.
    """
    url, bundle = settings.heartbeat_url, settings.ca_bundle
    if url is None:
        return
    try:
        answer = within(seconds, lambda: webhook.call("GET", url, ca_bundle=bundle))
    except TimeoutError:
        raise DeliveryError(f"no answer within {seconds:.0f} s") from None
    except ConfigError as error:
        raise DeliveryError(str(error)) from None
    if (amiss := _PINGED(answer)) is not None:
        raise DeliveryError(f"it answers {answer.looks()}, which lacks {amiss}")
