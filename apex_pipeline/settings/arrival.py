"""Whether, and how often, arriving rows start a sync between the schedule's ticks."""

import re
from collections.abc import Mapping
from datetime import timedelta

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.variable_reading import read_variable

ARRIVAL_VARIABLE = "APEX_SYNC_ON_ARRIVAL"

SHORTEST = timedelta(seconds=5)
"""A run takes a few seconds to start, so shorter intervals gain nothing."""

_DURATION = re.compile(r"(\d{1,4})\s*(s|m|min)")


def load_arrival_interval(environment: Mapping[str, str]) -> timedelta | None:
    """Read the least time between the starts of two runs; None if it is off.

    Raises:
        ConfigError: The variable is not a duration.
    """
    text = read_variable(environment, ARRIVAL_VARIABLE)
    return parse_interval(text, ARRIVAL_VARIABLE) if text else None


def parse_interval(text: str, name: str) -> timedelta:
    """Parse a duration such as `15s` or `2m`.

    Raises:
        ConfigError: It is malformed or too short; the message begins with `name`.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is not None:
        unit = 1 if match[2] == "s" else 60
        interval = timedelta(seconds=int(match[1]) * unit)
        if interval >= SHORTEST:
            return interval
    raise ConfigError(
        f"{name} must be a duration of at least {SHORTEST.total_seconds():g} s, such as "
        "15s or 2m; unset, it is off."
    )
