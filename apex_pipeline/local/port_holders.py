"""Which program listens on a port, as far as this system tells."""

import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"


def holder_of(port: int) -> str:
    """The program that listens on a port of this machine, in words.

    Only Linux tells its user, and its process only to that user and to root.
    """
    for user, inode in _listeners(port):
        process = _process(inode)
        owner = _name(user)
        return f"{process} of user {owner}" if process else f"a program of user {owner}"
    return "another program"


def _listeners(port: int) -> Iterator[tuple[int, str]]:
    """User and inode of each socket that listens there."""
    for table in _TABLES:
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                at = int(words[1].rpartition(":")[2], 16)
                if at == port and words[3] == _LISTENS:
                    yield int(words[7]), words[9]


def _process(inode: str) -> str:
    """Id and name of a process that has a socket; empty if we may not see it."""
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes end while we look, and those of others are closed to us.
        with suppress(OSError):
            if f"socket:[{inode}]" in map(_target, (folder / "fd").iterdir()):
                name = (folder / "comm").read_text().strip()
                # The program's user chose the name.
                return f"process {folder.name} ({name!r})"
    return ""


def _target(link: Path) -> str:
    """What an open file is; empty if it was closed meanwhile, as our own look is."""
    with suppress(OSError):
        return str(link.readlink())
    return ""


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
