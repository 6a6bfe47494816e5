"""Proxies from the environment, and the hosts that bypass them.

Reads `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, lower case first, as curl
and Python do. `NO_PROXY` has no standard. Supported are names, which include their
subdomains, IP addresses and networks, each with an optional port.
"""

import ipaddress
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.host_names import is_possible_host
from apex_pipeline.settings.variable_reading import read_variable

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?")
_WITH_PORT = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/]+)(?::(\d{1,5}))?")
_SCHEMES = ("http", "https")
_warned: set[str] = set()

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class _Exempt:
    """One entry of NO_PROXY; an empty name matches every host."""

    name: str = ""
    network: _Network | None = None
    port: int | None = None

    def includes(self, host: str, port: int) -> bool:
        if self.port not in {None, port}:
            return False
        if self.network is None:
            return not self.name or f".{host}".endswith(f".{self.name}")
        try:
            return ipaddress.ip_address(host) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies by scheme, and the hosts that bypass them.

    Attributes:
        addresses: Scheme to the proxy's variable and its address, which may contain a
            password.
        exempt: Hosts that bypass the proxy.
    """

    addresses: Mapping[str, tuple[str, str]] = field(repr=False)
    exempt: tuple[_Exempt, ...]

    def towards(self, scheme: str, host: str, port: int) -> str | None:
        """Return the address of the proxy for a host; None to connect directly.

        Raises:
            ConfigError: The variable is not the address of an HTTP proxy.
        """
        found = self.addresses.get(scheme)
        host = host.lower().strip("[]")
        if found is None or any(each.includes(host, port) for each in self.exempt):
            return None
        return _checked(*found)


def load_proxies(environment: Mapping[str, str]) -> Proxies:
    """Read the proxies; an invalid entry of NO_PROXY is logged once and ignored."""
    addresses = {}
    for scheme in _SCHEMES:
        for variable in (f"{scheme}_proxy", "all_proxy"):
            name, value = _read(environment, variable)
            if value:
                addresses[scheme] = (name, value)
                break
    name, text = _read(environment, "no_proxy")
    exempt = []
    for entry in filter(None, (each.strip() for each in text.split(","))):
        rule = _exempt(entry.lower())
        if rule is not None:
            exempt.append(rule)
        elif entry not in _warned:
            _warned.add(entry)
            logger.warning("%s: ignoring %r, not a host or network", name, entry)
    return Proxies(addresses, tuple(exempt))


def _read(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """A variable's upper-case name, and its value; the lower-case spelling wins."""
    spelling = name if name in environment else name.upper()
    return name.upper(), read_variable(environment, spelling)


def _exempt(entry: str) -> _Exempt | None:
    text = entry.partition("://")[2] or entry
    if text == "*":
        return _Exempt()
    if (network := _network(text)) is not None:
        return _Exempt(network=network)
    match = _WITH_PORT.fullmatch(text)
    if match is None:
        return None
    port = int(match[2]) if match[2] else None
    if (network := _network(match[1])) is not None:
        return _Exempt(network=network, port=port)
    name = match[1].removeprefix("*").removeprefix(".")
    return _Exempt(name, port=port) if _NAME.fullmatch(name) else None


def _network(text: str) -> _Network | None:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return ipaddress.ip_network(bare, strict=False)
    except ValueError:
        return None


def _checked(variable: str, address: str) -> str:
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        is_usable = is_possible_host(parts.hostname or "")
        is_usable &= parts.port is None or parts.port > 0
        # `urlsplit` takes tabs and line breaks out, and the clients do not.
        is_usable &= url.isprintable()
        # In a password, / ? or # ends the address, and the rest of it would be a host.
        is_usable &= "@" not in f"{parts.path}{parts.query}{parts.fragment}"
    except ValueError:
        is_usable = False
    # The value may contain a password, so the message leaves it out.
    if not is_usable:
        raise ConfigError(
            f"{variable} is not the address of a proxy. In its user and password, write "
            "/ as %2F, @ as %40, : as %3A, ? as %3F, # as %23 and % as %25."
        )
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"{variable} is a proxy of type {parts.scheme}, which is not supported. Use "
            "an HTTP proxy (http://host:port), or add the hosts to NO_PROXY."
        )
    return url
