"""Run Postgres as any user; Postgres itself refuses to run as root.

This module creates no user, and changes the mode only of folders that it creates.
"""

import filecmp
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from apex_pipeline.errors import ConfigError

_USER_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--")
_BECOME = (
    "import os, sys; uid, gid = map(int, sys.argv[1:3]); os.setgroups([]); "
    "os.setgid(gid); os.setuid(uid); os.execv(sys.argv[3], sys.argv[3:])"
)
_ACCOUNT = "nobody"
_PUBLIC_PLACE = "/var/tmp"  # noqa: S108 - the folder made there has a random name


@dataclass(frozen=True, slots=True)
class Quarters:
    """The folders of a server, and how its programs are started.

    Attributes:
        home: Folder with the data directory.
        installation: Folder with `bin`, `lib` and `share`.
        prefix: Words before the command line of each program.
        owner: User and group of the server's files, if not ours.
    """

    home: Path
    installation: Path
    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def give(self, path: Path) -> None:
        """Make the server's user the owner of a file or an empty folder."""
        if self.owner is not None:
            os.chown(path, *self.owner)


def home(folder: Path) -> Path:
    """The folder with the files of the server that was created for *folder*."""
    try:
        return Path((folder / "elsewhere").read_text())
    except FileNotFoundError:
        return folder


def find_quarters(folder: Path, installation: Path) -> Quarters:
    """Choose how to run a server for *folder*.

    Root uses a user namespace with another user id. If those are forbidden, as in most
    containers, root uses an existing account, with a copy of the programs and with the
    data in a folder that the account can access.

    Raises:
        ConfigError: Neither is possible.
    """
    if os.geteuid() != 0:
        # Raises a PermissionError now instead of half-way.
        with tempfile.TemporaryFile(dir=folder):
            return Quarters(folder, installation)
    data = folder / "data"
    if data.is_dir() and data.stat().st_uid != 0:
        # An ordinary user created it and will want to keep using it.
        account = data.stat().st_uid, data.stat().st_gid
        quarters = _as_account(folder, installation, *account)
        if _works(quarters):
            return quarters
        # That user cannot access our programs, for example under root's home.
        return _as_account(folder, _copy(installation, folder), *account)
    if home(folder) == folder:
        quarters = Quarters(folder, installation, _USER_NAMESPACE)
        if _works(quarters):
            return quarters
    if data.is_dir():
        raise ConfigError(
            f"Postgres does not run as root, and {data} was created in a user namespace, "
            "which is forbidden here. Give the folder to an ordinary user and run as "
            "that user, or move it away to start with an empty database."
        )
    return _elsewhere(folder, installation)


def _elsewhere(folder: Path, installation: Path) -> Quarters:
    advice = "Run as an ordinary user, or set DATABASE_URL to a running Postgres."
    try:
        account = pwd.getpwnam(_ACCOUNT)
        place = home(folder)
        if not place.is_dir() or place == folder:
            place = Path(tempfile.mkdtemp(prefix="apex_pipeline-", dir=_PUBLIC_PLACE))
            place.chmod(0o711)
            (folder / "elsewhere").write_text(str(place))
        programs = _copy(installation, place)
    except (KeyError, OSError) as error:
        raise ConfigError(
            f"Postgres does not run as root. User namespaces are forbidden here, and "
            f"the account {_ACCOUNT} cannot be used ({error}). {advice}"
        ) from error
    quarters = _as_account(place, programs, account.pw_uid, account.pw_gid)
    if not _works(quarters):
        raise ConfigError(
            f"Postgres does not run as root. User namespaces are forbidden here, and "
            f"the account {_ACCOUNT} cannot run programs in {place}. {advice}"
        )
    return quarters


def _as_account(place: Path, installation: Path, uid: int, gid: int) -> Quarters:
    # Not `su` or `setpriv`: either may be missing, and `su` stays as a parent process.
    prefix = (sys.executable, "-I", "-S", "-c", _BECOME, str(uid), str(gid))
    return Quarters(place, installation, prefix, (uid, gid))


def _copy(installation: Path, place: Path) -> Path:
    """Copy the programs, unless this version was copied before."""
    package, target = installation.parent, place / "programs"
    copied = target / package.name / installation.name
    program = Path("bin") / "postgres"
    if (copied / program).is_file() and filecmp.cmp(
        copied / program, installation / program
    ):
        return copied
    unfinished = target.with_suffix(".new")
    for leftover in (unfinished, target):
        shutil.rmtree(leftover, ignore_errors=True)
    # The wheel's shared libraries are next to its package, and are loaded from there.
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(
                source,
                unfinished / source.name,
                symlinks=True,
                ignore=shutil.ignore_patterns("include", "pginstall", "*.py*"),
            )
    unfinished.rename(target)
    return copied


def _works(quarters: Quarters) -> bool:
    # Unlike the server, initdb needs the wheel's own libraries.
    program = quarters.installation / "bin" / "initdb"
    try:
        subprocess.run(  # noqa: S603 - our own command
            [*quarters.prefix, str(program), "--version"],
            cwd="/",
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
