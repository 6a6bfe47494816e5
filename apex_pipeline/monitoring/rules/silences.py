"""Silences as people ask for them: of what, until when. Pure."""

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
    """The instant at which a silence ends (aware, UTC).

    Args:
        until: ISO 8601; a day alone means its beginning, and what has no offset, UTC.
        duration: Such as `90min`, `4h`, `2d` or `1w`.
        now: The present (aware).

    Raises:
        ConfigError: Not exactly one of the two is given, or it is malformed, past, or
            too far away.
    """
    if bool(until) == bool(duration):
        raise ConfigError("Give the end of the silence, by `until` or by `for`.")
    end = _instant(until) if until else now + _duration(duration or "")
    if not now < end <= now + LONGEST:
        raise ConfigError(
            f"A silence has to end after now, and within {LONGEST.days} days."
        )
    return end


def check_scope(scope: str, open_now: Iterable[str]) -> None:
    """See that something can be within a scope.

    Args:
        scope: A fingerprint, or a rule's name.
        open_now: Fingerprints of the incidents that are open.

    Raises:
        ConfigError: It begins with no rule.
    """
    if scope.partition("/")[0] in RULES:
        return
    known = ", ".join(sorted(open_now)) or "none"
    raise ConfigError(
        f"{scope!r} is no incident, and no kind of incident. Open now: {known}. Kinds: "
        f"{', '.join(sorted(RULES))}."
    )


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            "until must be a time like 2026-12-24T18:00 (UTC) or "
            "2026-12-24T18:00+01:00."
        ) from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError("for must be a duration like 90min, 4h, 2d or 1w.")
    return int(match[1]) * _UNITS[match[2]]
