"""Who provisions: an administrator where one is named, else the application itself."""

from collections.abc import Mapping
from dataclasses import replace

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import (
    DataverseSettings,
    read_tenant,
    read_variable,
    wants_local,
)

_NAMES = ("APEX_ADMIN_TENANT_ID", "APEX_ADMIN_CLIENT_ID", "APEX_ADMIN_CLIENT_SECRET")


def load_administrator(
    environment: Mapping[str, str], settings: DataverseSettings
) -> DataverseSettings | None:
    """The same environment as an administrator reaches it; None if nobody is named.

    Raises:
        ConfigError: Some of the three variables are set and others are not, or one is
            malformed.
    """
    values = {name: read_variable(environment, name) for name in _NAMES}
    _, is_local = wants_local(environment)
    if is_local or not any(values.values()):
        # The services of `apex up` do not know the administrator of the real ones.
        return None
    if missing := [name for name, value in values.items() if not value]:
        raise ConfigError(
            f"{' and '.join(missing)} must be set as well: APEX_ADMIN_* name an "
            "administrator together, or are all left out."
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
        client_id=client_id,
        client_secret=secret,
        certificate_path=None,
    )
