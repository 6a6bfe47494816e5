"""Several application users from one TOML file; each has request limits of its own."""

import logging
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.credentials import IDENTITIES, Credential
from apex_pipeline.settings.named_paths import checked_file
from apex_pipeline.settings.variable_reading import read_variable
from apex_pipeline.texts.redaction import OURS

CLIENTS_FILE = "AZURE_CLIENTS_FILE"

logger = logging.getLogger(__name__)

_ENTRY = "client"
_PROOFS = ("secret", "secret_variable", "certificate", "token_file", "managed_identity")
_FILES = ("certificate", "token_file")
_KEYS = {"client_id", *_PROOFS}
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def read_clients(environment: Mapping[str, str]) -> tuple[Credential, ...]:
    """Read the application users; the first also does all work that needs only one.

    Raises:
        ConfigError: The file or an entry is unusable. Lists all problems.
    """
    path = _path(environment)
    problems: list[str] = []
    found = []
    for place, entry in _entries(path):
        mistakes = list(_mistakes(entry, environment, path.parent))
        problems += [f"{place}: {mistake}" for mistake in mistakes]
        if not mistakes:
            found.append(_credential(entry, environment, path.parent))
    names = [each.client_id.lower() for each in found]
    problems += [
        f"{CLIENTS_FILE} {path}: {name} occurs more than once. Keep one entry."
        for name in sorted({each for each in names if names.count(each) > 1})
    ]
    if problems:
        raise ConfigError(*problems)
    if exposure(path) and any("secret" in entry for _, entry in _entries(path)):
        _warn(str(path))
    return tuple(found)


def secret_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables that hold secrets of the file; empty without a valid file.

    A process that reads the file needs them too.
    """
    if not read_variable(environment, CLIENTS_FILE):
        return ()
    try:
        entries = [entry for _, entry in _entries(_path(environment))]
    except ConfigError:
        return ()
    return tuple(str(e["secret_variable"]) for e in entries if "secret_variable" in e)


def exposure(path: Path) -> str:
    """Who besides the owner may read the file, in words; empty if no one."""
    mode = stat.S_IMODE(path.stat().st_mode)
    return f"mode {mode:03o}, every user may read it" if mode & stat.S_IROTH else ""


def _path(environment: Mapping[str, str]) -> Path:
    return checked_file(CLIENTS_FILE, read_variable(environment, CLIENTS_FILE))


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each entry, with the place that names it in messages."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{CLIENTS_FILE} {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # A TOML error quotes no more than one character of the file.
        raise ConfigError(f"{CLIENTS_FILE} {path} is not TOML: {error}.") from None
    listed = document.get(_ENTRY)
    if (
        not isinstance(listed, list)
        or not listed
        or not all(isinstance(entry, dict) for entry in listed)
        or document.keys() != {_ENTRY}
    ):
        raise ConfigError(
            f"{CLIENTS_FILE} {path} must contain one table [[{_ENTRY}]] for each "
            "application user, and nothing else."
        )
    return [
        (f"{CLIENTS_FILE} {path}, [[{_ENTRY}]] {number}", entry)
        for number, entry in enumerate(listed, start=1)
    ]


def _mistakes(
    entry: Mapping[str, Any], environment: Mapping[str, str], folder: Path
) -> Iterator[str]:
    if unknown := sorted(entry.keys() - _KEYS):
        yield f"unknown key {', '.join(unknown)}. Known are {', '.join(sorted(_KEYS))}."
    if not _is_guid(entry.get("client_id")):
        yield "client_id must be the application (client) id, a GUID."
    proofs = [name for name in _PROOFS if name in entry]
    if len(proofs) != 1:
        yield f"set exactly one of {', '.join(_PROOFS)}."
        return
    (name,), value = proofs, entry[proofs[0]]
    if not isinstance(value, str) or not value.strip():
        yield f"{name} must be a text."
    elif name == "secret_variable" and not read_variable(environment, value):
        yield _unset(value)
    elif name in _FILES:
        try:
            checked_file(name, value, folder)
        except ConfigError as error:
            yield from error.problems
    elif name == "managed_identity" and value not in IDENTITIES:
        yield f"managed_identity must be {' or '.join(IDENTITIES)}."


def _unset(name: str) -> str:
    if _VARIABLE.fullmatch(name):
        return f"the variable {name} is not set. Set it to the application's secret."
    OURS.remember(name)
    return (
        "secret_variable must be the name of a variable, in capitals. For the secret "
        "itself use the key secret."
    )


def _credential(
    entry: Mapping[str, Any], environment: Mapping[str, str], folder: Path
) -> Credential:
    client_id = str(UUID(entry["client_id"]))
    if "certificate" in entry:
        path = _file(folder, entry["certificate"])
        return Credential(client_id, certificate_path=path)
    if "token_file" in entry:
        return Credential(client_id, token_file=_file(folder, entry["token_file"]))
    if "managed_identity" in entry:
        return Credential(client_id, managed_identity=entry["managed_identity"])
    if "secret" in entry:
        return Credential(client_id, entry["secret"].strip())
    return Credential(client_id, read_variable(environment, entry["secret_variable"]))


def _file(folder: Path, value: str) -> Path:
    """A relative path begins at the folder of the file that names it."""
    return folder / Path(value).expanduser()


def _is_guid(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


@cache
def _warn(path: str) -> None:
    logger.warning(
        "%s holds secrets and every user of this machine may read it; run: chmod 600 %s",
        path,
        path,
    )
