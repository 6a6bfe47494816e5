"""The variables of a command: those of its process, and those of a file `.env`."""

import os

from dotenv import load_dotenv

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import VARIABLES, read_variable


def load_variables() -> None:
    """Read `.env` of the current folder; what is set already goes first.

    As Dagster does it, so that both see the same. A variable of ours that is blank is
    taken away, since Dagster takes white space for a value.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    try:
        # Windows PowerShell begins UTF-8 with a byte order mark.
        load_dotenv(".env", encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(
            "The file .env is not UTF-8; PowerShell's > writes UTF-16. Save it again as "
            "UTF-8, in PowerShell with Set-Content -Encoding utf8."
        ) from None
    for variable in VARIABLES:
        if variable.name in os.environ and not read_variable(os.environ, variable.name):
            del os.environ[variable.name]
