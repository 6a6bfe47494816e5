"""Load a command's variables from the file `.env`."""

import os

from dotenv import load_dotenv

from apex_pipeline.errors import ConfigError


def load_env_file() -> None:
    """Load `.env` from the current folder; variables that are already set win.

    Dagster loads the file the same way.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    try:
        # Windows PowerShell starts a UTF-8 file with a byte order mark.
        load_dotenv(".env", encoding="utf-8-sig")
    # UTF-16 without a byte order mark may be valid UTF-8, and no variable takes its NULs.
    except ValueError:
        raise ConfigError(
            "The file .env is not UTF-8 (PowerShell's > writes UTF-16). Save it as UTF-8; "
            "in PowerShell use Set-Content -Encoding utf8."
        ) from None


def work_for(tenant: str) -> None:
    """Replace this process's variables by those of a tenant.

    Raises:
        ConfigError: The file of tenants does not name it, or is malformed.
    """
    from apex_pipeline.settings import (  # noqa: PLC0415  as below
        find_tenant,
        tenant_environment,
        tenants_file,
    )

    source = find_tenant(tenants_file(os.environ), tenant)
    own = tenant_environment(os.environ, source)
    os.environ.clear()
    os.environ.update(own)


def drop_blank_variables() -> None:
    """Remove our variables that are blank: Dagster would treat white space as a value."""
    # The emulator's command loads this module, but none of the settings.
    from apex_pipeline.settings import VARIABLES  # noqa: PLC0415  it reads none

    for variable in VARIABLES:
        if not os.environ.get(variable.name, "set").strip():
            del os.environ[variable.name]
