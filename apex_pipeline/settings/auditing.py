"""Settings of the audit trail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.credentials import existing_file
from apex_pipeline.settings.host_names import is_web_address
from apex_pipeline.settings.variable_reading import read_variable

_DAYS = {"d": 1, "w": 7, "y": 365}
_KEEP = re.compile(r"([1-9]\d{0,5})([dwy])")
_SHORTEST = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """How the trail is kept and anchored.

    Attributes:
        keep: How long events are kept; None for ever.
        is_told: Whether each anchor is sent through the alert channels.
        authority: URL of the time-stamp authority; None for none.
        certificates: PEM file with the authority's certificates.
    """

    keep: timedelta | None = None
    is_told: bool = True
    authority: str | None = None
    certificates: Path | None = None


def load_audit_settings(environment: Mapping[str, str]) -> AuditSettings:
    """Read the settings of the audit trail.

    Raises:
        ConfigError: They are malformed or half set.
    """
    problems: list[str] = []
    authority = read_variable(environment, "APEX_TSA_URL") or None
    certificates = existing_file("APEX_TSA_CERTIFICATES", environment, problems)
    if authority and not is_web_address(authority, frozenset({"http", "https"})):
        problems.append("APEX_TSA_URL must be an http:// or https:// URL.")
    if authority and not read_variable(environment, "APEX_TSA_CERTIFICATES"):
        problems.append(
            "APEX_TSA_URL needs APEX_TSA_CERTIFICATES, a PEM file with the certificates of "
            "that authority, to check its time stamps."
        )
    told = read_variable(environment, "APEX_AUDIT_NOTICE").lower() or "on"
    if told not in {"on", "off"}:
        problems.append("APEX_AUDIT_NOTICE must be on or off.")
    keep = _keep(read_variable(environment, "APEX_AUDIT_KEEP"), problems)
    if problems:
        raise ConfigError(*problems)
    return AuditSettings(keep, told == "on", authority, certificates)


def _keep(text: str, problems: list[str]) -> timedelta | None:
    if text.lower() in {"", "forever"}:
        return None
    found = _KEEP.fullmatch(text.lower())
    keep = timedelta(days=int(found[1]) * _DAYS[found[2]]) if found else timedelta()
    if keep < _SHORTEST:
        problems.append(
            "APEX_AUDIT_KEEP must be at least 30 days, such as 400d, 104w or 7y; leave it "
            "unset to keep events for ever."
        )
        return None
    return keep
