"""Load a command's variables from the file `.env`."""

import os

from dotenv import load_dotenv

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings import VARIABLES, read_variable


def load_variables() -> None:
    """Load `.env` from the current folder; variables that are already set win.

    Dagster loads the file the same way. Our variables that are blank are removed,
    because Dagster would treat white space as a value.

    Raises:
        ConfigError: The file is not UTF-8.
    """
    try:
        # Windows PowerShell starts a UTF-8 file with a byte order mark.
        load_dotenv(".env", encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(
            "The file .env is not UTF-8 (PowerShell's > writes UTF-16). Save it as UTF-8; "
            "in PowerShell use Set-Content -Encoding utf8."
        ) from None
    for variable in VARIABLES:
        if variable.name in os.environ and not read_variable(os.environ, variable.name):
            del os.environ[variable.name]
