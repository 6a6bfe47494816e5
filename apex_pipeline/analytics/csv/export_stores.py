"""Where exported files are kept: a folder of this machine, or one in an object store.

Both keep the same promises: a reader finds the old file or the new one, and each file says
when what it shows was computed.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from apex_pipeline.analytics.csv.local_files import (
    EPOCH,
    explained,
    make_folder,
    replacing,
)
from apex_pipeline.errors import ApexError
from apex_pipeline.settings import AnalysisSettings


class ExportStore(Protocol):
    """Files by name, such as `daily/2026-11-25.csv`.

    Every method raises ApexError with the remedy where the store refuses.
    """

    def place(self, name: str = "") -> str:
        """Path or URL of a file, or of the whole."""
        ...

    def computed_at(self, name: str) -> datetime | None:
        """When the content of a file was computed; None if there is no such file."""
        ...

    def replacing(
        self, name: str, computed_at: datetime | None = None
    ) -> AbstractContextManager[BinaryIO]:
        """Open a file that replaces the one of this name if the block succeeds."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file; FileNotFoundError if there is none."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def finish(self) -> None:
        """Keep what the next run needs to know."""
        ...


class LocalStore:
    """A folder of this machine; the modification time of a file says when it was computed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, name: str = "") -> str:
        """Path of a file, or of the folder."""
        return str(self._folder / name)

    def computed_at(self, name: str) -> datetime | None:
        """Modification time of a file; None if there is no such file."""
        path = self._folder / name
        with explained(path):
            try:
                nanoseconds = path.stat().st_mtime_ns
            except (FileNotFoundError, NotADirectoryError):
                return None
        return EPOCH + timedelta(microseconds=nanoseconds // 1000)

    @contextmanager
    def replacing(
        self, name: str, computed_at: datetime | None = None
    ) -> Iterator[BinaryIO]:
        """Open a file that replaces the one of this name if the block succeeds."""
        path = self._folder / name
        make_folder(self._folder)
        make_folder(path.parent)
        with replacing(path, modified=computed_at) as file:
            yield file

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Open a file; FileNotFoundError if there is none."""
        path = self._folder / name
        try:
            file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(str(path)) from None
        except OSError as error:
            raise ApexError(
                f"{path} cannot be read: {error.strerror}. Let this user read it."
            ) from error
        with file:
            yield file

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.computed_at(name) is not None:
            path = self._folder / name
            with explained(path):
                path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Nothing is left to do: the files say everything."""


def export_store(settings: AnalysisSettings) -> ExportStore:
    """The store of CSV files that the settings name.

    Raises:
        ConfigError: The adapter for this kind of object store is not installed.
        ApexError: The adapter refuses.
    """
    return store_at(settings.export_url, settings.export_dir)


def store_at(url: str | None, folder: Path) -> ExportStore:
    """The store at a URL, or else a folder of this machine.

    Raises:
        ConfigError: The adapter for this kind of object store is not installed.
        ApexError: The adapter refuses.
    """
    if url is None:
        return LocalStore(folder)
    # Runs of the sync load no adapter.
    from apex_pipeline.analytics.csv.object_store import (  # noqa: PLC0415
        ObjectStore,
    )

    return ObjectStore(url)
