"""The commits that this code comes from, and the packages that it runs with."""

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
        branch: Name of the branch; `HEAD` where none is checked out.
        count: How many commits lead here.
        changed: Tracked files that differ from the last commit.
        newest: The last commits, the newest first.
    """

    branch: str
    count: int
    changed: int
    newest: tuple[Commit, ...]


def read_repository(most: int, package: Path = _PACKAGE) -> Repository:
    """Ask git.

    Args:
        most: So many commits, the newest.
        package: Folder of a package, which is ours.

    Raises:
        ApexError: There is no git, or the package is in no repository.
    """
    # The package may lie inside of somebody else's repository, and be ignored there.
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
    """The packages that ours names, and their versions; those that are not there, not.

    Raises:
        ApexError: Ours is not installed as a package.
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
        # What tests and linters need is no part of what runs.
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
            # A hook's variables would lead to the repository that it runs for.
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
        said = ended.stderr.strip().splitlines() or ["it does not say why"]
        raise ApexError(f"The package runs from no git repository: {said[0]}")
    return ended.stdout
