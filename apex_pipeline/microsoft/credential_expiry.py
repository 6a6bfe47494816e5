"""When the application's secret or certificate ends, and who says so.

A certificate says it itself. Of a secret only the directory knows; it tells the
application, where that may read its own registration. Else there is what a person noted.

The directory lists all secrets of an application and marks none as ours. What it shows
of each is a hint, its first three characters. So those that begin like ours are looked
at, or those without a hint where none does; not those that ended more than a day ago,
since with ours a token was got just now (a day, because tokens outlive a secret a
little). If several are left, the earliest end counts: to be warned early does no harm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ConfigError, DataverseError
from apex_pipeline.microsoft import graph
from apex_pipeline.microsoft.client_certificate import read_client_certificate
from apex_pipeline.settings import DataverseSettings, load_noted_end

_NOTED = "APEX_CLIENT_SECRET_EXPIRES_ON"
_HINT_LENGTH = 3
_TOKEN_OUTLIVES_SECRET = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CredentialEnd:
    """The last day of a credential.

    Attributes:
        on: UTC; None where nobody knows.
        source: Who says so, and why nobody better does; in words.
    """

    on: date | None
    source: str

    def days_left(self, today: date) -> int | None:
        """Days until it ends, negative after that; None where nobody knows."""
        return None if self.on is None else (self.on - today).days


def credential_end(
    application: DataverseSettings,
    environment: Mapping[str, str],
    token_cache: Path,
    *,
    seconds: float = graph.SECONDS,
) -> CredentialEnd:
    """Ask whoever knows; for a secret two short requests, or none if it is noted only.

    Args:
        application: Whose credential it is.
        environment: May hold what a person noted.
        token_cache: File that keeps tokens for all processes.
        seconds: How long each answer of the authority and of Graph may take.

    Raises:
        ConfigError: What is noted is no date, or the certificate cannot be read.
    """
    if application.certificate_path is not None:
        certificate = read_client_certificate(application.certificate_path)
        return CredentialEnd(certificate.ends_on, "the certificate itself")
    noted = load_noted_end(environment)
    try:
        with graph.connect(application, token_cache, seconds=seconds) as opened:
            found = opened.password_credentials(application.client_id)
    except (ConfigError, DataverseError) as error:
        return _fallback(noted, f"Microsoft Graph cannot be asked: {error}")
    if found is None:
        return _fallback(
            noted, "the application may not read its own registration in Entra"
        )
    return secret_end(application.client_secret or "", found, datetime.now(UTC)) or (
        _fallback(noted, "no secret in its registration in Entra begins like ours")
    )


def secret_end(
    secret: str, credentials: Iterable[Mapping[str, Any]], now: datetime
) -> CredentialEnd | None:
    """Which of an application's secrets is ours, as far as can be told; pure.

    Args:
        secret: Ours.
        credentials: `passwordCredentials` as Graph shows them.
        now: Aware.
    """
    known = [
        (each.get("hint"), end)
        for each in credentials
        if (end := _instant(each.get("endDateTime"))) is not None
        and end > now - _TOKEN_OUTLIVES_SECRET
    ]
    alike = [end for hint, end in known if hint == secret[:_HINT_LENGTH]]
    alike = alike or [end for hint, end in known if not hint]
    if not alike:
        return None
    source = "Microsoft Graph"
    if len(alike) > 1:
        source += f", the earliest of {len(alike)} secrets that may be ours"
    return CredentialEnd(min(alike).date(), source)


def _fallback(noted: date | None, why: str) -> CredentialEnd:
    if noted is None:
        return CredentialEnd(None, f"{_NOTED} is not set, and {why}")
    return CredentialEnd(noted, f"{_NOTED}; {why}")


def _instant(text: object) -> datetime | None:
    """Graph writes seven digits after the second, of which Python takes six."""
    try:
        found = datetime.fromisoformat(str(text))
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
