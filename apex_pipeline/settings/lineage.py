"""Where lineage goes; nowhere by default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.host_names import is_web_address
from apex_pipeline.settings.panel_access import is_loopback
from apex_pipeline.settings.variable_reading import read_variable

LINEAGE_VARIABLE = "OPENLINEAGE_URL"
_KEY = "OPENLINEAGE_API_KEY"


@dataclass(frozen=True, slots=True)
class LineageSettings:
    """The receiver of OpenLineage events.

    Attributes:
        url: `http[s]://host[:port]`; the client library adds the path.
        api_key: Sent as a bearer token; None if the receiver wants none.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)


def load_lineage_settings(environment: Mapping[str, str]) -> LineageSettings | None:
    """Read the receiver; None if lineage goes nowhere.

    Raises:
        ConfigError: The address is malformed, or the key would travel in the clear.
    """
    url = read_variable(environment, LINEAGE_VARIABLE)
    key = read_variable(environment, _KEY) or None
    if not url:
        if key:
            raise ConfigError(f"{_KEY} is set but {LINEAGE_VARIABLE} is not.")
        return None
    if "@" in re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]:
        raise ConfigError(f"{LINEAGE_VARIABLE} contains a user; set {_KEY} instead.")
    if not is_web_address(url, frozenset({"http", "https"})):
        raise ConfigError(
            f"{LINEAGE_VARIABLE} must be the receiver's address, such as "
            "https://marquez.example.com."
        )
    parts = urlsplit(url)
    if key and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigError(
            f"{LINEAGE_VARIABLE} must begin with https://, because {_KEY} is sent there."
        )
    return LineageSettings(url.rstrip("/"), key)
