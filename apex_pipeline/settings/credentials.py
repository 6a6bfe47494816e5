"""The application that signs in, and the one thing that proves its identity to Entra."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.named_paths import checked_file
from apex_pipeline.settings.variable_reading import read_variable

SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105  a variable's name
CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105  a variable's name
MANAGED_IDENTITY = "APEX_MANAGED_IDENTITY"
PROOFS = (SECRET, CERTIFICATE, TOKEN_FILE, MANAGED_IDENTITY)

USER_ASSIGNED, SYSTEM_ASSIGNED = "user", "system"
IDENTITIES = (USER_ASSIGNED, SYSTEM_ASSIGNED)


@dataclass(frozen=True, slots=True)
class Credential:
    """An application and what proves its identity.

    Attributes:
        client_id: The application's id; that of the identity, if it is a managed one.
        token_file: Token of a workload identity; its issuer replaces the file in time.
        managed_identity: One of `IDENTITIES`, or empty.
    """

    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    certificate_path: Path | None = None
    token_file: Path | None = None
    managed_identity: str = ""

    @property
    def proof(self) -> str:
        """What proves the identity, in words."""
        if self.managed_identity:
            return f"{self.managed_identity}-assigned managed identity"
        if self.token_file is not None:
            return f"workload identity, token from {self.token_file}"
        return "client secret" if self.certificate_path is None else "certificate"

    @property
    def outlasts(self) -> bool:
        """Whether there is nothing that an operator has to renew."""
        return bool(self.managed_identity or self.token_file)

    def parts(self) -> dict[str, Any]:
        """The fields by name, for another class that has them too."""
        return {each.name: getattr(self, each.name) for each in fields(Credential)}


def read_credential(
    environment: Mapping[str, str], problems: list[str]
) -> Credential | None:
    """Read the application from variables; None if there are problems."""
    before = len(problems)
    client_id = read_variable(environment, "AZURE_CLIENT_ID")
    if not client_id:
        problems.append("AZURE_CLIENT_ID must be the application (client) id.")
    given = [name for name in PROOFS if read_variable(environment, name)]
    if not given:
        problems.append(
            f"Set {SECRET}, or instead {', '.join(PROOFS[1:-1])} or {PROOFS[-1]}."
        )
    if len(given) > 1:
        which = "Both " if len(given) == 2 else ""
        problems.append(f"{which}{' and '.join(given)} are set; keep only one.")
    identity = read_variable(environment, MANAGED_IDENTITY)
    if identity not in ("", *IDENTITIES):
        problems.append(
            f"{MANAGED_IDENTITY} is {identity}. Set it to `{USER_ASSIGNED}` or "
            f"`{SYSTEM_ASSIGNED}`, as the identity is assigned."
        )
    certificate = existing_file(CERTIFICATE, environment, problems)
    token_file = existing_file(TOKEN_FILE, environment, problems)
    if len(problems) > before:
        return None
    secret = read_variable(environment, SECRET) or None
    return Credential(client_id, secret, certificate, token_file, identity)


def existing_file(
    name: str, environment: Mapping[str, str], problems: list[str]
) -> Path | None:
    """Absolute path of the file in a variable; None if unset, or missing (a problem)."""
    value = read_variable(environment, name)
    if not value:
        return None
    try:
        return checked_file(name, value)
    except ConfigError as error:
        problems += error.problems
        return None
