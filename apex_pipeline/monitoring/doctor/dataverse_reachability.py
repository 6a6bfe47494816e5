"""Dataverse as anybody sees it: reachable, trusted, and of the same time."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from apex_pipeline.errors import ConfigError
from apex_pipeline.microsoft.http_transport import token_http, translated
from apex_pipeline.monitoring.doctor.check_results import Finding, failed, ok, warning
from apex_pipeline.monitoring.doctor.machine import skew
from apex_pipeline.settings import DataverseSettings

_PATH = "/api/data/v9.2/WhoAmI"
_SECONDS = 4.0
_WARN_DAYS = 14


def reachable(settings: DataverseSettings) -> Finding:
    """Asked without a token, the Web API says that one is needed.

    A certificate that is not trusted is another line's matter.
    """
    try:
        answer = _ask(settings)
    except ConfigError:
        return ok("answers")
    seen = f"HTTP {answer.status_code}, {1000 * answer.elapsed.total_seconds():,.0f} ms"
    if answer.status_code == 401:
        return ok(seen)
    if answer.status_code >= 500:
        return failed(
            seen, "Wait for the service; its state is in the admin center's health."
        )
    return failed(
        seen,
        "That is no Dataverse Web API: DATAVERSE_RESOURCE must be the environment's "
        "own address, https://ORG.crm.dynamics.com.",
    )


def certificate(settings: DataverseSettings, now: datetime) -> Finding:
    """Verified against who is trusted, and the days that it lasts.

    Raises:
        ConfigError: It is not trusted.
    """
    with _asked(settings) as answer:
        # Once the answer is read, the connection is back in its pool.
        stream = answer.extensions["network_stream"]
        tls: ssl.SSLObject = stream.get_extra_info("ssl_object")
        end: Any = (tls.getpeercert() or {}).get("notAfter")
        version = tls.version()
    try:
        days = (datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) - now).days
    except (TypeError, ValueError, OverflowError, OSError):
        return warning(f"{version}, certificate trusted, its end cannot be read")
    seen = f"{version}, certificate trusted, {days} days left"
    return warning(seen) if days < _WARN_DAYS else ok(seen)


def clock(settings: DataverseSettings, now: datetime) -> Finding:
    """The Date header, which counts whole seconds, against this machine."""
    header = _ask(settings).headers.get("Date")
    if header is None:
        return warning("Dataverse sends no Date header")
    try:
        theirs = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return warning("Dataverse sends a Date header that is no date")
    # "-0000" is UTC too, of a clock whose zone is not known (RFC 5322, 3.3).
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
