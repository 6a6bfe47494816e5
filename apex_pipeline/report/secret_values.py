"""Collect the secrets of this configuration, to check that they appear nowhere."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import VARIABLES, read_variable
from apex_pipeline.settings.postgres_url import read_postgres_url

# A shorter value occurs in any text by chance.
_SHORTEST = 8
_HIDDEN = "•••"


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values that must not appear in a report.

    Attributes:
        values: Longest first, so that replacing them leaves no remainder.
    """

    values: tuple[str, ...] = field(repr=False)

    def hide(self, text: str) -> str:
        """The text with secrets replaced."""
        for value in self.values:
            text = text.replace(value, _HIDDEN)
        return text

    def are_in(self, data: bytes) -> bool:
        """Whether the data contain a secret."""
        return any(value.encode() in data for value in self.values)


def read_secrets(environment: Mapping[str, str], token_cache: Path) -> Secrets:
    """Collect the values of secret variables, and the cached access tokens."""
    found: set[str] = set()
    for variable in VARIABLES:
        value = read_variable(environment, variable.name)
        if variable.is_secret and value:
            found |= {value, *_passwords(value)}
    found |= set(_tokens(token_cache))
    # Replacing short values would garble the whole report.
    long = [value for value in found if len(value) >= _SHORTEST]
    return Secrets(tuple(sorted(long, key=len, reverse=True)))


def _passwords(address: str) -> Iterable[str]:
    """The password in an address, in encoded and in decoded form."""
    try:
        written = urlsplit(address).password
    except ValueError:
        written = None
    if written:
        return written, unquote(written)
    try:
        meant = read_postgres_url(address, "").get("password")
    except ConfigError:
        meant = None
    return (meant,) if meant else ()


def _tokens(path: Path) -> Iterable[str]:
    try:
        cache = json.loads(path.read_text())
        return [str(entry["secret"]) for entry in cache["AccessToken"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # There is no cache, or it is damaged; the pipeline then replaces it.
        return ()
