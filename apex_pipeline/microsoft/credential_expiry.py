"""Find out when the application's secret or certificate expires.

A certificate contains its own end. The end of a secret is in the directory, which tells
it to an application that may read its own registration. Otherwise only the date that an
operator noted is left. Managed and workload identities have no end.

The directory lists all secrets of an application and does not mark ours. It shows a hint
of each: its first three characters. Candidates are the secrets with our hint or, if
there are none, those without a hint. Secrets that ended more than a day ago are left
out, because ours has just got a token (a day, because tokens outlive a secret a little).
If several candidates remain, the earliest end counts: an early warning does no harm.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ConfigError, DataverseError
from apex_pipeline.microsoft import graph
from apex_pipeline.settings import DataverseSettings, load_noted_end

_NOTED = "APEX_CLIENT_SECRET_EXPIRES_ON"
_HINT_LENGTH = 3
_TOKEN_OUTLIVES_SECRET = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CredentialEnd:
    """The last day of a credential.

    Attributes:
        on: UTC; None if unknown.
        source: Where the date comes from, and why no better source has it; in words.
        comes: Whether there is an end; a managed or workload identity has none.
    """

    on: date | None
    source: str
    comes: bool = True

    def days_left(self, today: date) -> int | None:
        """Days until the end, negative after it; None if unknown."""
        return None if self.on is None else (self.on - today).days


def credential_end(
    application: DataverseSettings,
    environment: Mapping[str, str],
    token_cache: Path,
    *,
    seconds: float = graph.SECONDS,
) -> CredentialEnd:
    """Look up the end of the credential; for a secret, that takes two short requests.

    Args:
        application: The application that owns the credential.
        environment: Variables; may contain the date that an operator noted.
        token_cache: File that keeps tokens for all processes.
        seconds: How long each answer of the authority and of Graph may take.

    Raises:
        ConfigError: The noted text is not a date, or the certificate is unreadable.
    """
    if application.outlasts:
        return CredentialEnd(None, f"none: {application.proof}", comes=False)
    if application.certificate_path is not None:
        # It loads cryptography, which applications with a secret do not need.
        from apex_pipeline.microsoft.client_certificate import (  # noqa: PLC0415
            read_client_certificate,
        )

        certificate = read_client_certificate(application.certificate_path)
        return CredentialEnd(certificate.ends_on, "the certificate itself")
    noted = load_noted_end(environment)
    try:
        with graph.connect(application, token_cache, seconds=seconds) as opened:
            found = opened.password_credentials(application.client_id)
    except (ConfigError, DataverseError) as error:
        return _fallback(noted, f"Microsoft Graph is not available: {error}")
    if found is None:
        return _fallback(
            noted, "the application may not read its own registration in Entra"
        )
    return secret_end(application.client_secret or "", found, datetime.now(UTC)) or (
        _fallback(noted, "no secret in its registration in Entra matches ours")
    )


def secret_end(
    secret: str, credentials: Iterable[Mapping[str, Any]], now: datetime
) -> CredentialEnd | None:
    """The end of the secret that is most likely ours; None if none matches. Pure.

    Args:
        secret: Our secret.
        credentials: `passwordCredentials` as Graph returns them.
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
        source += f", the earliest of {len(alike)} secrets that may be this one"
    return CredentialEnd(min(alike).date(), source)


def _fallback(noted: date | None, why: str) -> CredentialEnd:
    if noted is None:
        return CredentialEnd(None, f"{_NOTED} is not set, and {why}")
    return CredentialEnd(noted, f"{_NOTED}; {why}")


def _instant(text: object) -> datetime | None:
    """Parse an instant of Graph, which has seven decimal digits; Python keeps six."""
    try:
        found = datetime.fromisoformat(str(text))
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
