"""Reading one environment variable; a secret may lie in a file."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.named_paths import (
    FILES,
    FOLDERS,
    path_of_file,
    path_of_folder,
)
from apex_pipeline.settings.secret_parts import secret_parts
from apex_pipeline.settings.variables import VARIABLES
from apex_pipeline.texts.redaction import OURS

FILE_SUFFIX = "_FILE"
"""Added to the name of a secret variable, it names the file that holds the value."""

# libpq's password, proxies, whose addresses may hold one, and the keys of object stores.
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
_OF_OTHERS = frozenset(
    {
        *("PGPASSWORD", *_PROXIES, *map(str.lower, _PROXIES)),
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CONNECTION_STRING"),
        "AZURE_STORAGE_SAS_TOKEN",
    }
)


def read_variable(environment: Mapping[str, str], name: str) -> str:
    r"""Return the value of a variable; empty if it is unset or blank.

    A secret may lie in a file that NAME_FILE names, where containers and clusters mount
    them. The file is read at each call, so a rotated secret is used at once. Surrounding
    white space is removed, such as the `\r` of a Windows file. From here on a secret is
    hidden in all that this process prints, stores or sends.

    Raises:
        ConfigError: The file cannot be read, is empty, or the variable is set as well.
    """
    value = _read(environment, name)
    if value and name in _SECRETS | _OF_OTHERS:
        OURS.remember(*secret_parts(value))
    return value


def read_secrets(environment: Mapping[str, str]) -> None:
    """Hide all secrets from now on, also those that this process does not use.

    Among them are those that are set in place of the path of their file.
    """
    # What uses the variable reports what is wrong with it.
    for name in _SECRETS | _OF_OTHERS:
        with suppress(ConfigError):
            read_variable(environment, name)
    for names, path in ((FILES, path_of_file), (FOLDERS, path_of_folder)):
        for name in names:
            value = _read(environment, name)
            # A URL names the folder of an object store.
            if value and not (name == "APEX_EXPORT_DIR" and "://" in value):
                with suppress(ConfigError):
                    path(name, value)


def _read(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if name not in _SECRETS:
        return value
    path = environment.get(name + FILE_SUFFIX, "").strip()
    if not path:
        return value
    if value:
        raise ConfigError(f"Both {name} and {name}{FILE_SUFFIX} are set. Remove one.")
    variable = name + FILE_SUFFIX
    return read_secret_file(variable, path_of_file(variable, path))


def with_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with the values of secret files in place of their names.

    Raises:
        ConfigError: As by `read_variable`.
    """
    by_file = {name for name in _SECRETS if environment.get(name + FILE_SUFFIX)}
    files = {name + FILE_SUFFIX for name in by_file}
    found = {name: value for name, value in environment.items() if name not in files}
    return found | {name: read_variable(environment, name) for name in by_file}


def read_secret_file(variable: str, path: Path) -> str:
    """Read the value of a variable from the file that holds it.

    Raises:
        ConfigError: The file cannot be read, or is empty.
    """
    try:
        value = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(
            f"{variable} names {path}, which cannot be read: {error.strerror}. Check the "
            "mount and its permissions."
        ) from None
    except UnicodeDecodeError:
        raise _not_utf8(variable, path) from None
    # UTF-16 without a byte order mark is valid UTF-8, if all of it is ASCII.
    if "\0" in value:
        raise _not_utf8(variable, path)
    if not value:
        raise ConfigError(f"{variable} names {path}, which is empty. Write the value.")
    return value


def _not_utf8(variable: str, path: Path) -> ConfigError:
    return ConfigError(
        f"{variable} names {path}, which is not UTF-8 text. Save the value as UTF-8."
    )


_SECRETS = {variable.name for variable in VARIABLES if variable.is_secret}
