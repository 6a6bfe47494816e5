"""Where the code server listens: a Unix socket that only its owner can reach.

Anyone who can connect to a code server can run code as its user, and end it. A TCP port on
the loopback would let in every user of the machine.
"""

import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from apex_pipeline.errors import ConfigError

# What sun_path holds besides its end: 107 bytes on Linux, 103 on macOS.
_MOST_BYTES = 103
_NAME = "code.sock"


def code_socket(state: Path) -> Path:
    """The socket of a state folder's code server, in a folder of mode 0700.

    If that path is too long, the folder is in the system's temporary folder, and the same
    at every start.

    Raises:
        ConfigError: The folder cannot be made, or belongs to another user.
    """
    folder = state / "sockets"
    if len(os.fsencode(folder / _NAME)) > _MOST_BYTES:
        digest = sha256(os.fsencode(state)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"apex-{os.getuid()}-{digest}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(
                f"The code server's socket needs a folder of your own, and {folder} is "
                "not one. Choose a shorter APEX_STATE_DIR."
            )
        folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot hold the code server's socket: {error.strerror}. Choose "
            "a shorter APEX_STATE_DIR."
        ) from error
    return folder / _NAME
