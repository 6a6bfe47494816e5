"""The tenant of this process, and every name that follows from it.

A tenant is a code location with its own environment: database, Dataverse, credentials,
panel and alerts. Without a tenant, each name is what it would be if tenants did not
exist.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.variable_reading import read_variable

TENANT_VARIABLE = "APEX_TENANT"

DEFAULT_LOCATION = "apex_pipeline"

# Also the end of the name of a database, whose length Postgres limits to 63 bytes.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, or with an empty name none."""

    name: str = ""

    @property
    def location(self) -> str:
        """Name of the code location, unless the workspace gives it another one."""
        return f"{DEFAULT_LOCATION}-{self.name}" if self.name else DEFAULT_LOCATION

    @property
    def key_prefix(self) -> tuple[str, ...]:
        """First part of every asset key."""
        return (self.name,) if self.name else ()

    @property
    def run_tags(self) -> dict[str, str]:
        return {"apex/tenant": self.name} if self.name else {}

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every metric."""
        return {"tenant": self.name} if self.name else {}

    def folder(self, shared: Path) -> Path:
        """The tenant's own folder in one that tenants may share."""
        return shared / "tenants" / self.name if self.name else shared

    def address(self, shared: str) -> str:
        """The same of a URL that tenants may share."""
        return f"{shared}/tenants/{self.name}" if self.name else shared

    def journal(self, location: str) -> str:
        """Under which name the alert journal keeps the incidents of a code location."""
        return f"{self.name}@{location}" if self.name else location

    def title(self, text: str) -> str:
        """A heading that says whose it is."""
        return f"{self.name}: {text}" if self.name else text


NO_TENANT = Tenant()


def load_tenant(environment: Mapping[str, str]) -> Tenant:
    """Read the tenant of this process.

    Raises:
        ConfigError: The name is malformed.
    """
    name = read_variable(environment, TENANT_VARIABLE)
    return parse_tenant(name, TENANT_VARIABLE) if name else NO_TENANT


def parse_tenant(name: str, source: str) -> Tenant:
    """Check a tenant's name.

    Args:
        name: What was given.
        source: Where it was given, for the message.

    Raises:
        ConfigError: It is malformed.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{source}: {name[:60]!r} cannot be a tenant's name. Use 1 to 40 lower-case "
            "letters, digits and hyphens, with a letter or digit at both ends."
        )
    return Tenant(name)
