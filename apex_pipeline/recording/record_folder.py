"""Files that somebody names in the launchpad: below the operator's folder, or refused.

Who may start a job is not always who may read the machine's files.
"""

from pathlib import Path

from apex_pipeline.errors import ConfigError


def file_within(
    folder: Path,
    name: str,
    remedy: str = "Put the file there, or let an operator name another folder in "
    "APEX_RECORD_DIR.",
) -> Path:
    """The file of that name; a relative name begins at the folder.

    Raises:
        ConfigError: It is not below the folder, wherever links lead, or is a pipe, a
            device or a folder.
    """
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):
        path = None
    if path is None or not path.is_relative_to(folder.resolve()):
        raise ConfigError(
            f"The job reads and writes files below {folder} alone. {remedy}"
        )
    if path.exists() and not path.is_file():
        # A pipe would hold the run until somebody writes into it.
        raise ConfigError("The job reads and writes ordinary files alone.")
    return path


def new_file_within(folder: Path, name: str) -> Path:
    """As `file_within`, for a file to be written.

    Raises:
        ConfigError: It is not below the folder, or there is one of that name.
    """
    path = file_within(folder, name)
    if path.exists():
        raise ConfigError(
            "The file for rejects is there already, and the job replaces no file. Name "
            "another one in rejects, or move it away."
        )
    return path
