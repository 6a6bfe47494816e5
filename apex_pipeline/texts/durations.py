"""Lengths of time, as people say them."""

from datetime import timedelta


def words(duration: timedelta) -> str:
    """A duration by its two largest units, such as `89 days 20 h`; zeros left out."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [
        (days, "day" if days == 1 else "days"),
        (hours, "h"),
        (minutes, "min"),
        (seconds, "s"),
    ]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    (first, unit), *rest = parts[:2]
    said = [f"{first} {unit}", *(f"{number} {name}" for number, name in rest if number)]
    return " ".join(said)
