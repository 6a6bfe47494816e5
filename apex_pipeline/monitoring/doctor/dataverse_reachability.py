"""Check that Dataverse is reachable, its certificate trusted and its clock in sync."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from apex_pipeline.dataverse.answers import is_intercepted
from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.http_answer import Answer, stand_in
from apex_pipeline.microsoft.http_transport import token_http, translated
from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.monitoring.doctor.machine import skew
from apex_pipeline.settings import DataverseSettings

_PATH = "/api/data/v9.2/WhoAmI"
_SECONDS = 4.0
_WARN_DAYS = 14


def reachable(settings: DataverseSettings) -> Measurement:
    """Check that the Web API answers 401 to a request without a token.

    An untrusted certificate counts as an answer; the check `TLS` reports it.
    """
    try:
        answer = _ask(settings)
    except ConfigError:
        return ok("answers")
    found = Answer.of(answer)
    took = f"{1000 * answer.elapsed.total_seconds():,.0f} ms"
    if found.status == 401 and not is_intercepted(found):
        return ok(f"HTTP 401, {took}")
    if found.status >= 500:
        return failed(
            f"{found.looks()}, {took}",
            "Wait for the service; see Service health in the admin center.",
        )
    if found.is_page or found.status == 401:
        return failed(
            stand_in(found, "Dataverse").removesuffix("."),
            "Look at the proxies, gateways and firewalls on the way, and check that "
            "DATAVERSE_RESOURCE is the environment's address, "
            "https://ORG.crm.dynamics.com.",
        )
    return failed(
        f"{found.looks()}, {took}",
        "This is not a Dataverse Web API. Set DATAVERSE_RESOURCE to the environment's "
        "address, https://ORG.crm.dynamics.com.",
    )


def certificate(settings: DataverseSettings, now: datetime) -> Measurement:
    """Check that the certificate is trusted, and how many days it is still valid.

    Raises:
        ConfigError: The certificate is not trusted.
    """
    with _asked(settings) as answer:
        # Inspect the stream before the answer is read and its connection is released.
        stream = answer.extensions["network_stream"]
        tls: ssl.SSLObject = stream.get_extra_info("ssl_object")
        end: Any = (tls.getpeercert() or {}).get("notAfter")
        version = tls.version()
    try:
        days = (datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) - now).days
    except (TypeError, ValueError, OverflowError, OSError):
        return warning(f"{version}, certificate trusted, expiry date unreadable")
    seen = f"{version}, certificate trusted, {days} days left"
    return warning(seen) if days < _WARN_DAYS else ok(seen)


def clock(settings: DataverseSettings, now: datetime) -> Measurement:
    """Compare the Date header, in whole seconds, with this machine's clock."""
    header = _ask(settings).headers.get("Date")
    if header is None:
        return warning("Dataverse sends no Date header")
    try:
        theirs = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return warning("Dataverse sends a malformed Date header")
    # "-0000" means UTC from a clock with an unknown time zone (RFC 5322, 3.3).
    return skew(theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC), now)


def _ask(settings: DataverseSettings) -> httpx.Response:
    with _asked(settings) as answer:
        answer.read()
        return answer


@contextmanager
def _asked(settings: DataverseSettings) -> Iterator[httpx.Response]:
    with (
        translated(f"reach {settings.resource}"),
        token_http(settings.ca_bundle, timeout=_SECONDS) as http,
        http.stream("GET", f"{settings.resource}{_PATH}") as answer,
    ):
        yield answer
