"""Addresses of web services, each in the one spelling that can be compared. Pure."""

import re
from urllib.parse import SplitResult, urlsplit

from apex_pipeline.errors import ConfigError

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*")


def normal_origin(url: str) -> str | None:
    """Scheme, host and port of a URL, normalised; None if it names no host, or a user.

    Scheme and host in small letters and no default port (RFC 3986, 6.2.2.1 and 6.2.3),
    and no final dot, which names the same host (RFC 1034, 3.1).
    """
    parts = _split(url)
    return None if parts is None or "@" in parts.netloc else _origin(parts)


def read_https_origin(name: str, text: str, example: str) -> str:
    """The origin that a variable names.

    Raises:
        ConfigError: It is not the address of an https service alone. The text says what
            to write, with the host that was given.
    """
    is_whole = "://" in text
    parts = _split(text if is_whole else f"https://{text}")
    # A word alone is no host that anybody means.
    if parts is None or not (is_whole or "." in str(parts.hostname)):
        raise ConfigError(f"{name} must look like {example}; what is set is not a URL.")
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{name} must look like {example}; what is set is not a URL.")
    origin = _origin(parts._replace(scheme="https"))
    if "@" in parts.netloc:
        raise ConfigError(f"{name} must not hold a user or a password: {origin}")
    if not is_whole or parts.scheme != "https":
        raise ConfigError(
            f"{name} must begin with https://, since tokens travel to it: {origin}"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"{name} must be the address alone: {origin}")
    return origin


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that names a host and a usable port, else None."""
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.port is None or parts.port > 0
    except ValueError:
        return None
    host = (parts.hostname or "").removesuffix(".")
    return parts if is_usable and _HOST.fullmatch(host) else None


def _origin(parts: SplitResult) -> str:
    host = str(parts.hostname).removesuffix(".")
    shown = f"[{host}]" if ":" in host else host
    default = _DEFAULT_PORTS.get(parts.scheme)
    port = "" if parts.port in {None, default} else f":{parts.port}"
    return f"{parts.scheme}://{shown}{port}"
