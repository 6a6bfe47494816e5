"""Which versions of Postgres our statements run on."""

from apex_pipeline.errors import ConfigError

# It brought date_bin and hash_record_extended, which the rollups use.
_OLDEST = 14


def in_words(version: int) -> str:
    """Describe a version as Postgres does: 180004 is 18.4."""
    return f"{version // 10_000}.{version % 10_000}"


def require_supported(version: int) -> None:
    """Refuse a server that is too old.

    Args:
        version: What libpq calls the server's version, such as 180004.

    Raises:
        ConfigError: It is older than 14.
    """
    if version < _OLDEST * 10_000:
        raise ConfigError(
            f"Postgres {in_words(version)} is too old: apex_pipeline needs {_OLDEST} or "
            "later. Upgrade the server, or name another one in DATABASE_URL."
        )
