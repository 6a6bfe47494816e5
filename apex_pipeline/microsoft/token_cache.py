"""One file of access tokens, shared by all processes of the pipeline.

Each run is a new process; without the file, each would request a token from Entra.
"""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msal

logger = logging.getLogger(__name__)


class TokenCacheFile:
    """MSAL's token cache in a file that only its owner may read.

    A damaged file is replaced, because Entra can issue its contents again. A file that
    cannot be written costs one token request per process and nothing else, so that is
    logged and not raised.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def opened(self) -> Iterator[msal.SerializableTokenCache]:
        """Lend the cache to one process at a time, and save its changes.

        While one process requests a token, the others wait here and then find it.
        """
        with self._locked():
            cache = self._read()
            yield cache
            if cache.has_state_changed:
                self._write(cache.serialize())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(
                self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, mode=0o600
            )
        except OSError as error:
            self._warn(error)
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> msal.SerializableTokenCache:
        cache = msal.SerializableTokenCache()
        try:
            cache.deserialize(self._path.read_text())
            # A document of another shape fails only when it is searched.
            list(cache.search(msal.TokenCache.CredentialType.ACCESS_TOKEN))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, AttributeError, KeyError):
            logger.warning("token cache %s is damaged and starts empty", self._path)
            cache = msal.SerializableTokenCache()
        except OSError as error:
            self._warn(error)
        return cache

    def _write(self, content: str) -> None:
        try:
            handle, name = tempfile.mkstemp(
                dir=self._path.parent, prefix=self._path.name
            )
        except OSError as error:
            self._warn(error)
            return
        try:
            with os.fdopen(handle, "w") as file:
                file.write(content)
            Path(name).replace(self._path)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        logger.warning(
            "token cache %s cannot be used (%s); each process will request its own "
            "token until the disk has space and the permissions are right",
            self._path,
            error.strerror,
        )
