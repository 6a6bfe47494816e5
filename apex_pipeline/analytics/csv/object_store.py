"""A folder in an object store, reached by an adapter of fsspec.

An object appears when its upload is complete, so a reader meets the old file or the new one.
Adapters differ in what they do to the old object while they stream into a new one: adlfs
deletes it first. So a file is made whole on this machine, and uploaded then.

The modification time of an object is that of its upload. `exported.json` says instead when
what each file shows was computed, and how many bytes it has: a file of another size, such as
one that somebody else put there, counts as out of date.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from posixpath import dirname
from typing import Any, BinaryIO, cast

import fsspec

from apex_pipeline.analytics.csv.local_files import explained
from apex_pipeline.errors import ApexError, ConfigError, install_extra

_DESCRIPTION = "exported.json"
_ADAPTERS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("abfs", "abfss", "az"), "azure"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
}


@dataclass(frozen=True, slots=True)
class _Known:
    """What `exported.json` says of a file."""

    size: int
    computed_at: datetime


class ObjectStore:
    """Files below a URL such as `s3://bucket/folder`."""

    def __init__(self, url: str) -> None:
        """Find the adapter; nothing is sent before the first use.

        Raises:
            ConfigError: There is no adapter, or it is not installed.
        """
        self._url = url.rstrip("/")
        _require_adapter(url.partition("://")[0])
        with _explained(url):
            # What other processes changed must be seen, so nothing is cached.
            self._system, self._root = fsspec.core.url_to_fs(
                self._url, use_listings_cache=False, skip_instance_cache=True
            )
        self._known: dict[str, _Known] | None = None
        self._changed: dict[str, _Known | None] = {}
        self._listed: dict[str, dict[str, int]] = {}

    def place(self, name: str = "") -> str:
        """URL of a file, or of the folder."""
        return f"{self._url}/{name}" if name else self._url

    def computed_at(self, name: str) -> datetime | None:
        """When a file was computed; None if it is not there, or is another one."""
        known = self._description().get(name)
        if known is None:
            return None
        return known.computed_at if self._size(name) == known.size else None

    @contextmanager
    def replacing(
        self, name: str, computed_at: datetime | None = None
    ) -> Iterator[BinaryIO]:
        """Open a file that replaces the object of this name if the block succeeds.

        Raises:
            ApexError: The store, or this machine's file system, refuses.
        """
        with (
            explained(tempfile.gettempdir()),
            tempfile.NamedTemporaryFile(prefix="apex-export-") as file,
        ):
            # All of a file's methods are there, but it is no subclass.
            yield cast("BinaryIO", file)
            file.flush()
            size = file.tell()
            with _explained(self.place(name)):
                self._system.put_file(file.name, self._path(name))
        self._listed.get(dirname(name), {})[name] = size
        if computed_at is not None:
            self._note(name, _Known(size, computed_at))

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Open a file; FileNotFoundError if there is none."""
        with _explained(self.place(name), is_read=True):
            file = self._system.open(self._path(name), "rb")
        with file:
            yield file

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._note(name, None)
        if self._size(name) is None:
            return
        with _explained(self.place(name)):
            self._system.rm_file(self._path(name))
        del self._listed[dirname(name)][name]

    def finish(self) -> None:
        """Write `exported.json`: what this run changed, and the rest as it is by now."""
        known: dict[str, _Known | None] = {**self._read_description(), **self._changed}
        described = {
            name: {"bytes": each.size, "computed_at": each.computed_at.isoformat()}
            for name, each in sorted(known.items())
            if each is not None
        }
        text = json.dumps({"files": described}, indent=1, allow_nan=False) + "\n"
        with self.replacing(_DESCRIPTION) as file:
            file.write(text.encode())

    def _note(self, name: str, known: _Known | None) -> None:
        self._changed[name] = known
        if known is None:
            self._description().pop(name, None)
        else:
            self._description()[name] = known

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _size(self, name: str) -> int | None:
        folder = dirname(name)
        if folder not in self._listed:
            self._listed[folder] = self._sizes(folder)
        return self._listed[folder].get(name)

    def _sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each file in a folder; one request for a thousand of them."""
        root = self._path(folder).rstrip("/")
        found: list[dict[str, Any]]
        try:
            with _explained(self.place(folder), is_read=True):
                found = self._system.ls(root, detail=True)
        except FileNotFoundError:
            return {}
        names = {each["name"].rpartition("/")[2]: each for each in found}
        return {
            f"{folder}/{name}" if folder else name: int(each["size"])
            for name, each in names.items()
            if each["type"] == "file"
        }

    def _description(self) -> dict[str, _Known]:
        if self._known is None:
            self._known = self._read_description()
        return self._known

    def _read_description(self) -> dict[str, _Known]:
        """Empty if there is none that we wrote; each file is then written again."""
        try:
            with self.reading(_DESCRIPTION) as file:
                files = json.loads(file.read())["files"]
            return {
                name: _Known(
                    int(each["bytes"]),
                    datetime.fromisoformat(each["computed_at"]).astimezone(UTC),
                )
                for name, each in files.items()
            }
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def _require_adapter(scheme: str) -> None:
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError:
        extra = _ADAPTERS.get(scheme)
        remedy = install_extra(extra) if extra else "Install it beside fsspec."
        raise ConfigError(
            f"APEX_EXPORT_DIR: the adapter for {scheme}:// is not installed. {remedy}"
        ) from None
    except ValueError:
        raise ConfigError(
            f"APEX_EXPORT_DIR: {scheme}:// is unknown. Use s3://, abfs:// or gs://, or the "
            "path of a folder."
        ) from None


@contextmanager
def _explained(place: str, *, is_read: bool = False) -> Iterator[None]:
    """Translate the errors of adapters, each of which has kinds of its own.

    Raises:
        ApexError: Has the cause and the remedy.
    """
    try:
        yield
    except FileNotFoundError as error:
        if is_read:
            raise
        raise ApexError(
            f"{place} cannot be written: its bucket or container does not exist. Create it, "
            "or name another one in APEX_EXPORT_DIR."
        ) from error
    except Exception as error:
        words = str(error).strip() or type(error).__name__
        raise ApexError(
            f"{place} cannot be used: {words[:500]} Check APEX_EXPORT_DIR, and the account "
            "and rights that the adapter finds in its variables."
        ) from error
