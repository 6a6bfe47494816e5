"""Checks of the token, its claims, and the expiry of the credential."""

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
from apex_pipeline.monitoring.doctor.check_results import (
    Measurement,
    failed,
    ok,
    warning,
)
from apex_pipeline.monitoring.facts import CREDENTIAL_WARNED_DAYS
from apex_pipeline.settings import DataverseSettings

_TOKEN_SECONDS = 5.0
DIRECTORY_SECONDS = 3.0
"""Timeout for each answer of Entra and of Microsoft Graph."""


def acquire(settings: DataverseSettings, cache: Path) -> tuple[str, float]:
    """Get a token from Entra, and the seconds that it took.

    Args:
        settings: Whose token to get.
        cache: Path of an empty token cache, so Entra is asked.

    Raises:
        AuthError: Entra refused the credentials; also the other errors of
            `TokenSource.acquire`.
    """
    began = time.monotonic()
    with token_http(settings.ca_bundle, timeout=_TOKEN_SECONDS) as http:
        token = TokenSource(settings, TokenCacheFile(cache), http).acquire()
    return token, time.monotonic() - began


def audience(token: str, settings: DataverseSettings) -> Measurement:
    """Compare the token's audience and application with the settings.

    The signature is not verified; this only finds mix-ups.
    """
    claims = _claims(token)
    if claims is None:
        return warning("the token is not a readable JWT; Entra does not promise one")
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
) -> Measurement:
    """Check how many days the secret or certificate is still valid.

    Raises:
        ConfigError: The configured expiry date or the certificate is malformed.
    """
    end = credential_end(settings, environment, cache, seconds=DIRECTORY_SECONDS)
    days = end.days_left(today)
    if not end.comes:
        return ok(f"{end.source}, with nothing to renew")
    if end.on is None or days is None:
        return warning(
            f"unknown: {end.source}",
            "Set APEX_CLIENT_SECRET_EXPIRES_ON to the secret's expiry date in Entra.",
        )
    when = f"in {days} days" if days >= 0 else f"{-days} days ago"
    seen = f"{end.on.isoformat()}, {when} (by {end.source})"
    if days < 0:
        return failed(seen)
    return warning(seen) if days <= CREDENTIAL_WARNED_DAYS[0] else ok(seen)


def _claims(token: str) -> dict[str, Any] | None:
    """The claims of a JWT, unverified; None if the token is not a JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None
