"""How commands print values that JSON does not know."""

from datetime import date


def plain(value: object) -> object:
    """ISO 8601 for times and days, else the text that a person would see."""
    return value.isoformat() if isinstance(value, date) else str(value)
