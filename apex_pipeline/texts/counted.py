"""A number with its noun."""


def counted(count: int, noun: str) -> str:
    """Return such as “1 row” or “12,000 rows”."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
