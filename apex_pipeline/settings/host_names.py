"""Whether a host's name can be looked up at all. Pure."""

import ipaddress
import re
from urllib.parse import urlsplit

_NAME = re.compile(r"[\w-]+(?:\.[\w-]+)*\.?")
_LONGEST_NAME = 253


def is_possible_host(text: str) -> bool:
    """Whether it is an IP address, or a name that the resolver accepts.

    For a part that is empty or too long, Python's resolver raises a UnicodeError, which
    no HTTP client translates (RFC 1035, 2.3.4: 63 characters a part, 253 in all).
    """
    if ":" in text:
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            return False
        return True
    try:
        encoded = text.encode("idna")
    except UnicodeError:
        return False
    is_short = len(encoded.removesuffix(b".")) <= _LONGEST_NAME
    return is_short and _NAME.fullmatch(text) is not None


def is_web_address(text: str, schemes: frozenset[str]) -> bool:
    """Whether it is a complete URL that every HTTP client takes."""
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in schemes
        and has_port
        and is_possible_host(parts.hostname or "")
        # `urlsplit` takes tabs and line breaks out, and the clients do not.
        and text.isprintable()
        and " " not in text
    )
