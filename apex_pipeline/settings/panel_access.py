"""Settings of the panel: address, access token, allowed origins."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.host_names import is_possible_host
from apex_pipeline.settings.origins import normal_origin
from apex_pipeline.settings.tenant import NO_TENANT, Tenant, load_tenant
from apex_pipeline.settings.variable_reading import read_variable

DEFAULT_PANEL_HOST = "127.0.0.1"
DEFAULT_PANEL_PORT = 3100

# A shorter token could be guessed; only rate limiting would protect it.
_SHORTEST_TOKEN = 16

# Characters that an Authorization header allows (RFC 6750, b64token).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")

_ROOT_PATH = re.compile(r"(/[A-Za-z0-9_-]+)+")
_OWN_PATHS = {
    *("api", "static", "live", "sign-in", "sign-out"),
    *("healthz", "readyz", "metrics"),
}


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """Settings of the panel.

    Attributes:
        host: Address or name to listen on.
        port: Port to listen on.
        token: Bearer token for the panel; None for open access, on loopback only.
        allowed_origins: Origins whose pages may read the API in a browser.
        tenant: Whose panel it is.
        root_path: The path under which a reverse proxy publishes the panel, such as
            `/apex`; empty for none.
        frame_ancestors: Origins whose pages may show the panel in a frame.
    """

    host: str = DEFAULT_PANEL_HOST
    port: int = DEFAULT_PANEL_PORT
    token: str | None = field(default=None, repr=False)
    allowed_origins: tuple[str, ...] = ()
    tenant: Tenant = NO_TENANT
    root_path: str = ""
    frame_ancestors: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Address to open in a browser on this machine."""
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
    """Read the panel's settings; `host` and `port` override the variables.

    Raises:
        ConfigError: A variable is malformed, or the panel would be open to other
            machines without a token. Lists all problems.
    """
    problems: list[str] = []
    settings = PanelSettings(
        host=(host or "").strip()
        or read_variable(environment, "APEX_PANEL_HOST")
        or DEFAULT_PANEL_HOST,
        port=_port(environment, problems) if port is None else port,
        token=_token(environment, problems),
        allowed_origins=_origins(environment, "APEX_PANEL_CORS", problems),
        tenant=load_tenant(environment),
        root_path=_root_path(environment, problems),
        frame_ancestors=_origins(environment, "APEX_PANEL_FRAME_ANCESTORS", problems),
    )
    if settings.token is None and not is_loopback(settings.host):
        problems.append(
            f"Listening on {settings.host} lets other machines in: set APEX_PANEL_TOKEN, "
            "for example to the output of `openssl rand -hex 32`. Without a token, only "
            f"{DEFAULT_PANEL_HOST} is possible."
        )
    if problems:
        raise ConfigError(*problems)
    return settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
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
        # The value is meant as a secret, so the message must not contain it.
        problems.append(
            f"APEX_PANEL_TOKEN must be at least {_SHORTEST_TOKEN} characters long, only "
            "letters, digits and -._~+/; `openssl rand -hex 32` creates one."
        )
    return token


def _root_path(environment: Mapping[str, str], problems: list[str]) -> str:
    path = read_variable(environment, "APEX_PANEL_ROOT_PATH").rstrip("/")
    if not path:
        return ""
    first = path.split("/")[1] if "/" in path else ""
    if not _ROOT_PATH.fullmatch(path) or first in _OWN_PATHS:
        problems.append(
            "APEX_PANEL_ROOT_PATH must look like /apex: letters, digits, hyphens and "
            "slashes, and none of the panel's own paths, such as /api."
        )
        return ""
    return path


def _origins(
    environment: Mapping[str, str], name: str, problems: list[str]
) -> tuple[str, ...]:
    listed = read_variable(environment, name).replace(",", " ").split()
    problems += [
        f"{name} must list origins like https://intranet.example.com, without "
        f"a path; {origin!r} is not one."
        for origin in listed
        if not _is_origin(origin)
    ]
    # A browser omits the default port.
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
        and is_possible_host(parts.hostname or "")
        and parts.hostname == host.strip("[]")
        and text == f"{parts.scheme}://{parts.netloc}"
    )
