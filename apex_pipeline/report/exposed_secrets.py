"""Look for secrets in files, in the process list and in logs."""

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from apex_pipeline.errors import ApexError
from apex_pipeline.report.measured_lines import Seen, met, not_measured, not_met
from apex_pipeline.texts.redaction import Redactor

_OTHERS = 0o077
_MOST_BYTES = 1024**2
_LOG_BYTES = 16 * 1024**2
_PRIVATE_KEY = b"PRIVATE KEY-----"


def private(paths: list[Path], otherwise: str) -> Seen:
    """Whether only their owner may read these files; `otherwise` says why none exists."""
    there = [path for path in paths if path.exists()]
    if not there:
        return not_measured(otherwise)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in there}
    wrong = [f"{path} has {mode:04o}" for path, mode in modes.items() if mode & _OTHERS]
    if wrong:
        return not_met("; ".join(wrong))
    named = ", ".join(f"{path.name} {mode:04o}" for path, mode in modes.items())
    return met(named)


def sensitive_files(state: Path, secrets: Redactor) -> Iterator[Path]:
    """Files of the state folder that hold one of our secrets or a private key."""
    for pattern in ("*", "tls/*", "dagster/*"):
        for path in sorted(state.glob(pattern)):
            if path.is_file() and path.stat().st_size <= _MOST_BYTES:
                data = _read(path)
                if secrets.are_in(data) or _PRIVATE_KEY in data:
                    yield path


def environment_file(*folders: Path) -> Seen:
    """Whether only their owner may read the files `.env` of these folders."""
    paths = [folder / ".env" for folder in dict.fromkeys(folders)]
    if not any(path.exists() for path in paths):
        return met("there is none; the environment has the variables")
    return private(paths, "")


def process_list(secrets: Redactor) -> Seen:
    """Whether a command line of this machine shows one of our secrets."""
    if not len(secrets):
        return not_measured("no secret is configured")
    lines = _command_lines()
    telling = [number for number, line in lines.items() if secrets.are_in(line)]
    if telling:
        return not_met(f"process {', '.join(telling)} shows a secret")
    return met(f"{len(lines)} processes; none shows a secret")


def _command_lines() -> dict[str, bytes]:
    """Command lines of all visible processes, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[path.parent.name] = path.read_bytes()
        except OSError:
            # The process has just ended.
            continue
    if found:
        return found
    # macOS has no /proc.
    command = ["/bin/ps", "-axww", "-o", "pid=,command="]
    try:
        listed = subprocess.run(command, capture_output=True, check=True)  # noqa: S603  as it stands
    except (OSError, subprocess.CalledProcessError) as error:
        raise ApexError("The processes of this machine cannot be listed.") from error
    rows = (line.strip().partition(b" ") for line in listed.stdout.splitlines())
    return {number.decode(): line for number, _, line in rows}


def logs(folder: Path, secrets: Redactor) -> Seen:
    """Whether a log of this folder holds one of our secrets."""
    if not folder.is_dir():
        return not_measured(f"there is no {folder}; the logs are elsewhere")
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    telling = [path.name for path in paths if secrets.are_in(_read(path, _LOG_BYTES))]
    if telling:
        return not_met(f"{', '.join(telling)} in {folder}")
    return met(f"{len(paths)} files; none contains a secret")


def _read(path: Path, most: int = _MOST_BYTES) -> bytes:
    """Read the end of a file.

    Raises:
        ApexError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - most, 0))
            return file.read(most)
    except OSError as error:
        raise ApexError(f"{path} cannot be read: {error.strerror}.") from error
