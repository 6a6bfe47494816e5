"""Load the administrator that provisions, if one is configured."""

from collections.abc import Mapping
from dataclasses import replace

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    Credential,
    DataverseSettings,
    read_tenant,
    read_variable,
    wants_local,
)

_NAMES = ("APEX_ADMIN_TENANT_ID", "APEX_ADMIN_CLIENT_ID", "APEX_ADMIN_CLIENT_SECRET")


def load_administrator(
    environment: Mapping[str, str], settings: DataverseSettings
) -> DataverseSettings | None:
    """Return the settings with the administrator's credentials; None if not configured.

    Raises:
        ConfigError: Only some of the three variables are set, or one is malformed.
    """
    values = {name: read_variable(environment, name) for name in _NAMES}
    _, is_local = wants_local(environment)
    if is_local or not any(values.values()):
        # The emulator does not know the administrator of the real environment.
        return None
    if missing := [name for name, value in values.items() if not value]:
        raise ConfigError(
            f"{' and '.join(missing)} must be set too: set all three APEX_ADMIN_* "
            "variables, or none."
        )
    problems: list[str] = []
    tenant = read_tenant(_NAMES[0], environment, problems)
    if problems:
        raise ConfigError(*problems)
    _, client_id, secret = values.values()
    host = settings.authority.rpartition("/")[0]
    return replace(
        settings,
        authority=f"{host}/{tenant}",
        **Credential(client_id, secret).parts(),
    )
