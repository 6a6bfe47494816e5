"""The panel: where it listens, who may look, and which other origins may read it."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.origins import normal_origin
from apex_pipeline.settings.variables import read_variable

DEFAULT_PANEL_HOST = "127.0.0.1"
DEFAULT_PANEL_PORT = 3100

# Below this, guessing would have to be made hopeless by waiting alone.
_SHORTEST_TOKEN = 16

# What an Authorization header can carry (RFC 6750, b64token).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """How the panel is served.

    Attributes:
        host: Address or name that it listens on.
        port: Port that it listens on.
        token: What whoever asks must show; None for nothing, on the loopback alone.
        allowed_origins: Origins whose pages may read the API in a browser.
    """

    host: str = DEFAULT_PANEL_HOST
    port: int = DEFAULT_PANEL_PORT
    token: str | None = field(default=None, repr=False)
    allowed_origins: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where a person on this machine looks."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  only shown
        host = everywhere.get(self.host, self.host)
        return (
            f"http://[{host}]:{self.port}"
            if ":" in host
            else f"http://{host}:{self.port}"
        )


def load_panel_settings(
    environment: Mapping[str, str], *, host: str | None = None, port: int | None = None
) -> PanelSettings:
    """Read the panel's settings; what is given beside the environment goes first.

    Raises:
        ConfigError: Something is malformed, or others than this machine could look
            without a token. All of it is named at once.
    """
    problems: list[str] = []
    settings = PanelSettings(
        host=(host or "").strip()
        or read_variable(environment, "APEX_PANEL_HOST")
        or DEFAULT_PANEL_HOST,
        port=_port(environment, problems) if port is None else port,
        token=_token(environment, problems),
        allowed_origins=_origins(environment, problems),
    )
    if settings.token is None and not is_loopback(settings.host):
        problems.append(
            f"To listen on {settings.host} lets other machines in, so "
            "APEX_PANEL_TOKEN must be set, for example to the output of `openssl rand "
            f"-hex 32`. Without a token only {DEFAULT_PANEL_HOST} will do."
        )
    if problems:
        raise ConfigError(*problems)
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(environment: Mapping[str, str], problems: list[str]) -> int:
    text = read_variable(environment, "APEX_PANEL_PORT")
    if not text:
        return DEFAULT_PANEL_PORT
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        problems.append("APEX_PANEL_PORT must be a port, 1 to 65535.")
        return DEFAULT_PANEL_PORT
    return int(text)


def _token(environment: Mapping[str, str], problems: list[str]) -> str | None:
    token = read_variable(environment, "APEX_PANEL_TOKEN")
    if not token:
        return None
    if len(token) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        # What is set is meant as a secret; it must not reach the message.
        problems.append(
            f"APEX_PANEL_TOKEN must be at least {_SHORTEST_TOKEN} letters, digits or "
            "-._~+/ long; `openssl rand -hex 32` makes one."
        )
    return token


def _origins(environment: Mapping[str, str], problems: list[str]) -> tuple[str, ...]:
    listed = read_variable(environment, "APEX_PANEL_CORS").replace(",", " ").split()
    problems += [
        "APEX_PANEL_CORS must list origins like https://intranet.example.com, without "
        f"a path; {origin!r} is none."
        for origin in listed
        if not _is_origin(origin)
    ]
    # A browser leaves a default port out.
    return tuple(normal_origin(origin) or origin for origin in listed)


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = parts.netloc.rpartition(":")[0] if port is not None else parts.netloc
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and parts.hostname == host.strip("[]")
        and text == f"{parts.scheme}://{parts.netloc}"
    )
