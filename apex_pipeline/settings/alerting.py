"""Settings of the alert channels: Teams, e-mail, and an external heartbeat monitor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.credentials import existing_file
from apex_pipeline.settings.host_names import is_possible_host
from apex_pipeline.settings.variable_reading import read_variable

GRAPH = "graph:"

_SECRET_END = "APEX_CLIENT_SECRET_EXPIRES_ON"  # noqa: S105  its name, not its value
_SMTP_EXAMPLE = "smtp://user:password@host:587, smtps://… or graph:"
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]+")


class Encryption(StrEnum):
    """Encryption of a connection to a mail server."""

    FROM_START = "from the start"
    REQUIRED = "STARTTLS"
    OFFERED = "STARTTLS where offered"
    """For a relay without a password, so none can be intercepted."""


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """A mail server.

    Attributes:
        user: None for a relay that needs no sign-in.
    """

    host: str
    port: int
    encryption: Encryption
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Recipients, sender and transport of e-mail.

    Attributes:
        smtp: None to send through Microsoft Graph as the pipeline's own application.
    """

    to: tuple[str, ...]
    sender: str
    smtp: SmtpSettings | None


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The configured alert channels; None for a channel that is not configured.

    Attributes:
        teams_url: Address of the workflow; a secret, because knowing it is enough to
            post.
        heartbeat_url: Pinged while no error is undelivered; a secret for the same
            reason.
        ca_bundle: PEM file that all channels trust besides the system's certificates.
    """

    teams_url: str | None = field(default=None, repr=False)
    mail: MailSettings | None = None
    heartbeat_url: str | None = field(default=None, repr=False)
    ca_bundle: Path | None = None


def load_alert_settings(environment: Mapping[str, str]) -> AlertSettings:
    """Read the settings of the alert channels.

    Raises:
        ConfigError: A variable is malformed, or a channel is only partly configured.
            Lists all problems, without values, because most are secrets.
    """
    problems: list[str] = []
    settings = AlertSettings(
        teams_url=_url("APEX_TEAMS_WEBHOOK_URL", ("https",), environment, problems),
        mail=_mail(environment, problems),
        heartbeat_url=_url(
            "APEX_HEARTBEAT_URL", ("https", "http"), environment, problems
        ),
        ca_bundle=existing_file("APEX_CA_BUNDLE", environment, problems),
    )
    if problems:
        raise ConfigError(*problems)
    return settings


def load_dagster_url(environment: Mapping[str, str]) -> str | None:
    """Read the address of the Dagster UI; None leaves links out of notices.

    Raises:
        ConfigError: The address is malformed.
    """
    problems: list[str] = []
    url = _url("APEX_DAGSTER_URL", ("https", "http"), environment, problems)
    if problems:
        raise ConfigError(*problems)
    return url and url.rstrip("/")


def load_noted_end(environment: Mapping[str, str]) -> date | None:
    """Read the configured expiry date of the client secret.

    It is read apart from the channels: a mistake here must not disable them.

    Raises:
        ConfigError: The value is not a date.
    """
    text = read_variable(environment, _SECRET_END)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{_SECRET_END} must be a date like 2027-01-31.") from None


def _url(
    name: str,
    schemes: Sequence[str],
    environment: Mapping[str, str],
    problems: list[str],
) -> str | None:
    """Read a URL. Any host is allowed, because Microsoft has moved its services before."""
    text = read_variable(environment, name)
    if not text:
        return None
    parts = _split(text)
    if parts is None or parts.scheme not in schemes or parts.username is not None:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        problems.append(
            f"{name} must be a complete URL that begins with {expected}; copy it again. "
            "The current value is not one."
        )
        return None
    return text


def _split(text: str) -> SplitResult | None:
    """Split a URL; None if it has no usable host and port."""
    try:
        parts = urlsplit(text)
        usable = parts.port is None or parts.port > 0
    except ValueError:
        return None
    usable &= is_possible_host(parts.hostname or "")
    return parts if usable and _PRINTABLE.fullmatch(text) else None


def _mail(environment: Mapping[str, str], problems: list[str]) -> MailSettings | None:
    names = ("APEX_ALERT_EMAIL_TO", "APEX_ALERT_EMAIL_FROM", "APEX_SMTP_URL")
    values = {name: read_variable(environment, name) for name in names}
    if not any(values.values()):
        return None
    if missing := [name for name, value in values.items() if not value]:
        problems.append(
            f"{' and '.join(missing)} must be set too: e-mail needs "
            f"{', '.join(names[:2])} and {names[2]}."
        )
        return None
    found = len(problems)
    to = tuple(filter(None, re.split(r"[,;\s]+", values[names[0]])))
    for name, addresses in ((names[0], to), (names[1], (values[names[1]],))):
        if not addresses or not all(map(_ADDRESS.fullmatch, addresses)):
            problems.append(
                f"{name} must contain only addresses like apex@example.com"
                + (", separated by commas." if name == names[0] else ".")
            )
    smtp = None if values[names[2]] == GRAPH else _smtp(values[names[2]], problems)
    if len(problems) > found:
        return None
    return MailSettings(to=to, sender=values[names[1]], smtp=smtp)


def _smtp(text: str, problems: list[str]) -> SmtpSettings | None:
    parts = _split(text)
    if (
        parts is None
        or parts.scheme not in {"smtp", "smtps"}
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        problems.append(
            f"APEX_SMTP_URL must look like {_SMTP_EXAMPLE}; the current value does not. "
            "In user and password write / as %2F, ? as %3F, # as %23, and % as %25."
        )
        return None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        problems.append(
            "APEX_SMTP_URL must contain both user and password, or neither for a relay."
        )
        return None
    if not (user + password).isascii():
        problems.append(
            "User and password in APEX_SMTP_URL must be ASCII; servers disagree on other "
            "characters."
        )
        return None
    encryption = Encryption.REQUIRED if user else Encryption.OFFERED
    port = 587 if user else 25
    if parts.scheme == "smtps":
        encryption, port = Encryption.FROM_START, 465
    return SmtpSettings(
        host=parts.hostname or "",
        port=parts.port or port,
        encryption=encryption,
        user=user or None,
        password=password or None,
    )
