"""Read the commits of this code, and the packages that it runs with."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from apex_pipeline.errors import ApexError

_PACKAGE = Path(__file__).parents[1]
_DISTRIBUTION = "apex-pipeline"
_SECONDS = 10.0
_FIELD, _COMMIT = "\x1f", "\x1e"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

_FOR_TESTS = re.compile(r"extra == ['\"]dev['\"]")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit."""

    short_hash: str
    committed_at: datetime
    subject: str


@dataclass(frozen=True, slots=True)
class Repository:
    """The checkout that the package runs from.

    Attributes:
        branch: Name of the branch; `HEAD` if none is checked out.
        count: Number of commits.
        changed: Tracked files that differ from the last commit.
        newest: The last commits, newest first.
    """

    branch: str
    count: int
    changed: int
    newest: tuple[Commit, ...]


def read_repository(most: int, package: Path = _PACKAGE) -> Repository:
    """Read the checkout with git.

    Args:
        most: How many of the newest commits to read.
        package: Folder of our package.

    Raises:
        ApexError: git is not installed, or the package is not in a repository.
    """
    # The package may be inside an unrelated repository that ignores it.
    _git(package, "ls-files", "--error-unmatch", "__init__.py")
    log = _git(package, "log", f"-{most}", f"--format=%h{_FIELD}%cI{_FIELD}%s{_COMMIT}")
    commits = [each.strip().split(_FIELD, 2) for each in log.split(_COMMIT)[:-1]]
    return Repository(
        branch=_git(package, "rev-parse", "--abbrev-ref", "HEAD").strip(),
        count=int(_git(package, "rev-list", "--count", "HEAD")),
        changed=len(_git(package, "status", "--porcelain", "-uno").splitlines()),
        newest=tuple(
            Commit(short_hash, datetime.fromisoformat(at), subject)
            for short_hash, at, subject in commits
        ),
    )


def installed_packages() -> Sequence[tuple[str, str]]:
    """Our installed dependencies, with their versions.

    Raises:
        ApexError: The pipeline is not installed as a package.
    """
    try:
        named = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError as error:
        raise ApexError(
            f"{_DISTRIBUTION} is not installed here; see docs/get-started.md."
        ) from error
    names = {
        match[0]
        for each in named
        # Packages for tests and linters are not part of a running pipeline.
        if (match := _NAME.match(each)) and not _FOR_TESTS.search(each)
    }
    return [
        (name, version)
        for name in sorted(names, key=str.lower)
        if (version := _version(name)) is not None
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        raise ApexError("git is not installed here, or is not on the PATH.")
    try:
        ended = subprocess.run(  # noqa: S603  git, on our own folder
            [program, "-C", str(folder), "--no-optional-locks", *arguments],
            # The variables of a git hook would point to that hook's repository.
            env={k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ApexError(f"git does not answer within {_SECONDS:g} s.") from error
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["git gives no reason"]
        raise ApexError(f"The package is not in a git repository: {said[0]}")
    return ended.stdout
