"""Parse and validate silences: which incident, until when. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from apex_pipeline.errors import ConfigError
from apex_pipeline.monitoring.rules.catalogue import RULES

LONGEST = timedelta(days=90)

_DURATION = re.compile(r"(\d{1,6})\s*(min|m|h|d|w)")
_UNITS = {
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def read_end(until: str | None, duration: str | None, now: datetime) -> datetime:
    """Return the end of a silence, in UTC.

    Args:
        until: ISO 8601; a date means its start, and a time without offset is UTC.
        duration: Such as `90min`, `4h`, `2d` or `1w`.
        now: Current time, timezone-aware.

    Raises:
        ConfigError: Both or neither are given, or the end is malformed, in the past, or
            too far ahead.
    """
    if bool(until) == bool(duration):
        raise ConfigError("Set when the silence ends: either `until` or `duration`.")
    wrong = f"A silence must end in the future, within {LONGEST.days} days."
    try:
        end = _instant(until) if until else now + _duration(duration or "")
    except OverflowError:
        # Before the year 1 or after 9999.
        raise ConfigError(wrong) from None
    if not now < end <= now + LONGEST:
        raise ConfigError(wrong)
    return end


def check_scope(scope: str, open_now: Iterable[str]) -> None:
    """Check that a scope can match an incident.

    Args:
        scope: A fingerprint, or a rule's name.
        open_now: Fingerprints of the open incidents, for the message.

    Raises:
        ConfigError: The scope does not begin with the name of a rule.
    """
    if scope.partition("/")[0] in RULES:
        return
    known = ", ".join(sorted(open_now)) or "none"
    raise ConfigError(
        f"{scope!r} is neither an incident nor a kind of incident. Open incidents: "
        f"{known}. Kinds: {', '.join(sorted(RULES))}."
    )


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            "`until` must be a time like 2026-12-24T18:00 (UTC) or "
            "2026-12-24T18:00+01:00."
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError("`duration` must be a length like 90min, 4h, 2d or 1w.")
    return int(match[1]) * _UNITS[match[2]]
