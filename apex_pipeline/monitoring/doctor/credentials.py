"""Who we are: the token, what is written in it, and how long the credential lasts."""

import base64
import binascii
import json
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from apex_pipeline.microsoft.credential_expiry import credential_end
from apex_pipeline.microsoft.http_transport import token_http
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.monitoring.doctor.check_results import Finding, failed, ok, warning
from apex_pipeline.monitoring.facts import CREDENTIAL_WARNED_DAYS
from apex_pipeline.settings import DataverseSettings

_TOKEN_SECONDS = 5.0
DIRECTORY_SECONDS = 3.0
"""For each answer of the authority and of Microsoft Graph."""


def acquire(settings: DataverseSettings, cache: Path) -> tuple[str, float]:
    """A token out of an empty cache, so from Entra, and the seconds that it took.

    Raises:
        AuthError: Entra refuses the credentials; likewise the other errors of
            `TokenSource.acquire`.
    """
    began = time.monotonic()
    with token_http(settings.ca_bundle, timeout=_TOKEN_SECONDS) as http:
        token = TokenSource(settings, TokenCacheFile(cache), http).acquire()
    return token, time.monotonic() - began


def audience(token: str, settings: DataverseSettings) -> Finding:
    """Whom the token says that it is for; it is read, and not believed."""
    claims = _claims(token)
    if claims is None:
        return warning("the token cannot be read, which Entra does not promise either")
    client = str(claims.get("appid") or claims.get("azp"))
    seen = f"audience {claims.get('aud')}, application {client}"
    if str(claims.get("aud")).rstrip("/").lower() != settings.resource.lower():
        return failed(seen, "DATAVERSE_RESOURCE must be the environment's own address.")
    if client.lower() != settings.client_id.lower():
        return failed(seen)
    return ok(seen)


def expiry(
    settings: DataverseSettings,
    environment: Mapping[str, str],
    cache: Path,
    today: date,
) -> Finding:
    """Days that are left to the secret or the certificate.

    Raises:
        ConfigError: What a person noted is no date, or the certificate is none.
    """
    end = credential_end(settings, environment, cache, seconds=DIRECTORY_SECONDS)
    days = end.days_left(today)
    if end.on is None or days is None:
        return warning(
            f"unknown: {end.source}",
            "Set APEX_CLIENT_SECRET_EXPIRES_ON to the date that Entra shows for the "
            "secret.",
        )
    when = f"in {days} days" if days >= 0 else f"{-days} days ago"
    seen = f"{end.on.isoformat()}, {when} (by {end.source})"
    if days < 0:
        return failed(seen)
    return warning(seen) if days <= CREDENTIAL_WARNED_DAYS[0] else ok(seen)


def _claims(token: str) -> dict[str, Any] | None:
    """The middle part of a JWT; None for a token that is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
