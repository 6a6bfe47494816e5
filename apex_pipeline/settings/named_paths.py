"""Paths of this machine that a variable or a file of settings names.

A secret is easily set where the path of its file belongs. So a text is shown only if it
exists, lies in a folder that exists, or consists of words as names of files do. Any other
text is hidden from then on, in all that this process prints, stores or sends.
"""

import os
import re
from pathlib import Path

from apex_pipeline.errors import ConfigError
from apex_pipeline.settings.secret_parts import secret_parts
from apex_pipeline.texts.redaction import OURS

FILES = (
    *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"),
    *("AZURE_CLIENTS_FILE", "APEX_CA_BUNDLE", "APEX_TSA_CERTIFICATES"),
    "APEX_TENANTS_FILE",
)
"""Variables that name a file."""

FOLDERS = ("APEX_STATE_DIR", "APEX_RECORD_DIR", "APEX_EXPORT_DIR", "DAGSTER_HOME")
"""Variables that name a folder."""

# Limits of Linux, in bytes: NAME_MAX, and PATH_MAX without its NUL.
_LONGEST_NAME, _LONGEST = 255, 4095
_LONGEST_SHOWN = 300
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_NAMES = re.compile(r"~?[\w ./-]+")
_SWITCH = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=[^\W\d_])(?=[0-9])|(?<=[0-9])(?=[^\W\d_])"
)
_MOST_SWITCHES = 2
_OF_A_FILE = re.compile(r".+\.(pem|crt|cer|cert|key|jwt|token|toml|env|txt|json)")


def path_of_file(name: str, text: str, folder: Path | None = None) -> Path:
    """The absolute path of a file; it may be missing, but it may be shown.

    Args:
        name: Variable or key, for messages.
        text: Its value; `~` is the home folder.
        folder: Where a relative path begins, by default in the current folder.

    Raises:
        ConfigError: The text is no path, and may be a secret.
    """
    is_named = "/" in text or _OF_A_FILE.fullmatch(text) is not None
    remedy = f"Write the value to a file, and set {name} to the path of that file."
    return _path(name, text, folder, remedy, may_be_new=is_named and _is_of_words(text))


def checked_file(name: str, text: str, folder: Path | None = None) -> Path:
    """Absolute path of a file that exists, as `path_of_file`.

    Raises:
        ConfigError: It is missing, closed to this process, or the text is no path.
    """
    path = path_of_file(name, text, folder)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise ConfigError(
            f"{name} is {path}, which cannot be read: {error.strerror}. Check its "
            "permissions."
        ) from None
    if not is_file:
        raise ConfigError(f"{name} is {path}, which is not a file.")
    return path


def path_of_folder(name: str, text: str) -> Path:
    """The absolute path of a folder, which need not exist yet.

    Raises:
        ConfigError: The text is no path, and may be a secret.
    """
    remedy = f"Set {name} to the path of a folder; if it is one, create it first."
    return _path(name, text, None, remedy, may_be_new=_is_of_words(text))


def _path(
    name: str, text: str, folder: Path | None, remedy: str, *, may_be_new: bool
) -> Path:
    try:
        given = Path(text).expanduser()
    except RuntimeError:
        _hide(text)
        raise ConfigError(
            f"{name} begins with ~ and the name of no user of this machine. Write the "
            "whole path."
        ) from None
    base = folder or (Path("/") if given.is_absolute() else _current_folder(name))
    if not _can_be_path(text) or not (may_be_new or _is_below_a_folder(base, given)):
        _hide(text)
        raise ConfigError(f"{name} holds a value, not a path. {remedy}")
    return base / given


def _current_folder(name: str) -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError(
            f"{name} is a relative path, and the current folder no longer exists. Write "
            "the whole path."
        ) from None


def _can_be_path(text: str) -> bool:
    names = os.fsencode(text).split(b"/")
    return (
        _CONTROL.search(text) is None
        and not any(mark in text for mark in ("://", "BEGIN "))
        and len(os.fsencode(text)) <= _LONGEST
        and max(map(len, names)) <= _LONGEST_NAME
    )


def _is_below_a_folder(base: Path, given: Path) -> bool:
    """Whether it exists, or the first of its folders does."""
    named = given.parts[: 2 if given.is_absolute() else 1]
    is_lower = len(given.parts) > len(named)
    return _exists(base / given) or (is_lower and _exists(base.joinpath(*named)))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def _is_of_words(text: str) -> bool:
    """Whether its names look written by people or clusters, and not drawn by lot."""
    return (
        len(text) <= _LONGEST_SHOWN
        and _NAMES.fullmatch(text) is not None
        and all(
            len(_SWITCH.findall(word)) <= _MOST_SWITCHES
            for word in re.split(r"[\W_]+", text)
        )
    )


def _hide(text: str) -> None:
    # A certificate's or a key's lines may appear one by one.
    lines = [line for line in text.splitlines() if not line.startswith("-----")]
    OURS.remember(*secret_parts(text), *lines)
