"""Parse and normalise origins of web services, so they can be compared. Pure."""

import re
from urllib.parse import SplitResult, urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.host_names import is_possible_host

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*")


def normal_origin(url: str) -> str | None:
    """Return a URL's scheme, host and port; None if it has no host, or has a user.

    Normalised to a lower-case scheme and host without the default port (RFC 3986,
    6.2.2.1 and 6.2.3), and without a final dot, which names the same host (RFC 1034,
    3.1).
    """
    parts = _split(url)
    return None if parts is None or "@" in parts.netloc else _origin(parts)


def read_https_origin(name: str, text: str, example: str) -> str:
    """Return the https origin in a variable.

    Args:
        name: Name of the variable, for messages.
        text: Its value.
        example: A correct value, for messages.

    Raises:
        ConfigError: The value is not a plain https origin. The message suggests one
            with the given host.
    """
    is_whole = "://" in text
    parts = _split(text if is_whole else f"https://{text}")
    # A single word without a scheme is not meant as a host.
    if parts is None or not (is_whole or "." in str(parts.hostname)):
        raise ConfigError(
            f"{name} must look like {example}; the current value is not a URL."
        )
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigError(
            f"{name} must look like {example}; the current value is not a URL."
        )
    origin = _origin(parts._replace(scheme="https"))
    if "@" in parts.netloc:
        raise ConfigError(f"{name} must not contain a user or a password: {origin}")
    if not is_whole or parts.scheme != "https":
        raise ConfigError(
            f"{name} must begin with https://, because tokens are sent to it: {origin}"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"{name} must not contain a path or query: {origin}")
    return origin


def _split(url: str) -> SplitResult | None:
    """Split a URL; None if it has no valid host or port."""
    try:
        parts = urlsplit(url.strip())
        is_usable = parts.port is None or parts.port > 0
    except ValueError:
        return None
    host = (parts.hostname or "").removesuffix(".")
    is_usable &= is_possible_host(host)
    return parts if is_usable and _HOST.fullmatch(host) else None


def _origin(parts: SplitResult) -> str:
    host = str(parts.hostname).removesuffix(".")
    shown = f"[{host}]" if ":" in host else host
    default = _DEFAULT_PORTS.get(parts.scheme)
    port = "" if parts.port in {None, default} else f":{parts.port}"
    return f"{parts.scheme}://{shown}{port}"
