"""What of a secret must be hidden: all of it, and the parts that may appear alone."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

# Of a URL, also one that is malformed, and of libpq's `key=value` form.
_PASSWORDS = re.compile(
    r"://[^:/@]*:(.+)@|\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&]+))", re.DOTALL
)
# A shorter piece is a word, such as that of a path.
_SHORTEST_PIECE = 16


def secret_parts(value: str) -> Iterator[str]:
    """The value, and of an address: its password, path and signature."""
    yield value
    for found in _PASSWORDS.finditer(value):
        password = next(filter(None, found.groups()), "")
        yield from (password, unquote(password), re.sub(r"\\(.)", r"\1", password))
    try:
        parts = urlsplit(value)
    except ValueError:
        return
    if parts.scheme in {"http", "https"} and parts.netloc:
        yield value.partition(parts.netloc)[2]
        pieces = [*parts.path.split("/"), *(each for _, each in parse_qsl(parts.query))]
        yield from (each for each in pieces if len(each) >= _SHORTEST_PIECE)
