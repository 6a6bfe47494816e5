"""Write CSV files (RFC 4180) from Postgres: streamed, and replaced as a whole.

Files are UTF-8 without a byte order mark, with CR LF line ends and a header. Memory use is a
few hundred kilobytes, whatever the number of rows. The same rows give the same bytes, also
compressed: the gzip header contains neither time nor name.

New files and folders get the mode that the umask allows; a replaced file keeps its mode.
"""

import csv
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.queries import Selection, copy_statement
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS, limits_of

# The reader of a pipe may be slow.
_COPY_SECONDS = 3600.0
_BLOCK_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
# Of rows full of random ids, 6 % larger than zlib's own choice, in half the time.
_LEVEL = 3
_PART = ".apex-part"
EPOCH = datetime.fromtimestamp(0, UTC)
"""Modification times of files count from here."""


@dataclass(frozen=True, slots=True)
class Written:
    """A written file.

    Attributes:
        rows: Number of rows, without the header.
        size: Bytes of the file, after compression.
        sha256: Digest of the file, in hexadecimal.
    """

    rows: int
    size: int
    sha256: str


Tell = Callable[[int, int], object]
"""Called now and then with the rows and bytes written so far."""


class Sink(Protocol):
    """A target for bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of them, or raise OSError."""
        ...


@contextmanager
def snapshot(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Open a read-only connection with one snapshot of the database, in UTC.

    Raises:
        DatabaseError: One of its kinds, also for statements within the block.
    """
    with database.session(_COPY_SECONDS) as connection:
        # Of each wait, not of the whole; it may have to sort before the first row.
        connection.limits = limits_of(STATEMENT_SECONDS)
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL TIME ZONE 'UTC'")
        yield connection


def write_csv(
    connection: psycopg.Connection[Any],
    selection: Selection,
    sink: Sink,
    *,
    compress: bool = False,
    tell: Tell | None = None,
) -> Written:
    """Write the rows as one CSV file.

    Args:
        connection: From `snapshot`.
        selection: The rows.
        sink: Where the bytes go.
        compress: Whether to write gzip.
        tell: Shows the progress.

    Raises:
        OSError: From the sink.
        psycopg.Error: `snapshot` translates it.
        SchemaMissingError: The database has no such table or view.
    """
    file = _File(sink, compress=compress)
    with connection.cursor().copy(copy_statement(connection, selection)) as copy:
        block = bytearray()
        # "Messages sent from the backend will always correspond to single data rows"
        # (PostgreSQL, Message Formats, CopyData).
        for message in copy:
            block += message
            if len(block) >= _BLOCK_BYTES:
                file.write(bytes(block))
                block.clear()
                if tell:
                    tell(file.records - 1, file.size)
        file.write(bytes(block))
    return file.finish()


def count(connection: psycopg.Connection[Any], statement: sql.Composed) -> int:
    """Read one number."""
    row: tuple[int] | None = connection.execute(statement).fetchone()
    return row[0] if row else 0


class _File:
    """Converts line ends to those of RFC 4180, compresses, counts and writes."""

    def __init__(self, sink: Sink, *, compress: bool) -> None:
        self.records = 0
        self.size = 0
        self._sink = sink
        self._packer = zlib.compressobj(_LEVEL, wbits=_GZIP) if compress else None
        self._digest = hashlib.sha256()

    def write(self, block: bytes) -> None:
        """Take the next complete records from Postgres."""
        # Postgres ends records with LF. A quoted LF belongs to a value, and a quote
        # within a value is doubled, so it does not change what is quoted.
        pieces = block.split(b'"')
        for number in range(0, len(pieces), 2):
            self.records += pieces[number].count(b"\n")
            pieces[number] = pieces[number].replace(b"\n", b"\r\n")
        data = b'"'.join(pieces)
        self._pass_on(self._packer.compress(data) if self._packer else data)

    def finish(self) -> Written:
        """Write the rest."""
        if self._packer:
            self._pass_on(self._packer.flush())
        return Written(self.records - 1, self.size, self._digest.hexdigest())

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
            self._digest.update(data)
            self.size += len(data)


def count_rows(path: Path) -> int:
    """Read an uncompressed file back and count its rows, without the header.

    Raises:
        ApexError: It cannot be read, or is not CSV.
    """
    # Python's default is 128 KB; a text in Postgres may be a gigabyte long.
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.reader(file, strict=True)) - 1
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ApexError(f"{path} cannot be read back: {error}.") from error


@contextmanager
def replacing(path: Path, *, modified: datetime | None = None) -> Iterator[BinaryIO]:
    """Open a file that replaces *path* if the block succeeds.

    Until then *path* is unchanged. A killed process leaves a hidden part file behind,
    which the next write into that folder removes.

    Args:
        path: The file to replace; its folder must exist.
        modified: Its modification time; None for now.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    with explained(path):
        _remove_abandoned(path.parent)
        part, name = _open_part(path.parent)
        try:
            _keep_mode(path, part.fileno())
            yield part
            part.flush()
            if modified is not None:
                instant = (modified - EPOCH) // timedelta(microseconds=1) * 1000
                os.utime(part.fileno(), ns=(instant, instant))
            os.fsync(part.fileno())
            name.replace(path)
        except BaseException:
            with suppress(OSError):
                name.unlink()
            raise
        finally:
            # Closing would try again to write the rest.
            with suppress(OSError):
                part.close()
        _sync_folder(path.parent)


def _keep_mode(path: Path, part: int) -> None:
    """Keep the mode of the replaced file."""
    with suppress(FileNotFoundError):
        os.fchmod(part, stat.S_IMODE(path.stat().st_mode))


def make_folder(path: Path) -> None:
    """Create a folder; new parent folders are readable by this user only.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(exist_ok=True)


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Translate errors of the file system.

    Raises:
        ApexError: Has the cause and the remedy.
        BrokenPipeError: The reader closed the pipe, which is not an error.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ApexError(
            f"{place} cannot be written: {error.strerror or error}. "
            f"{_REMEDIES.get(error.errno or 0, _LOOK)}"
        ) from error


_LOOK = "Check the folder, or choose another one."
_ROOM = "Make room there, or name a folder on another disk."
_RIGHTS = "Let this user write there, or name another folder."
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOENT: "Its folder is not there; make it, or name another one.",
}


def _open_part(folder: Path) -> tuple[BinaryIO, Path]:
    """Create a file that stays locked while its writer lives."""
    while True:
        name = folder / f".{secrets.token_hex(8)}{_PART}"
        # O_EXCL does not follow a planted link.
        number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        file = os.fdopen(number, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(number).st_nlink:
            return file, name
        # Another process removed it as abandoned before it was locked.
        file.close()


def _remove_abandoned(folder: Path) -> None:
    for name in folder.glob(f".*{_PART}"):
        # Leave files that are locked, gone by now, or another user's.
        with suppress(OSError), _opened(name, os.O_RDWR) as number:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()


def _sync_folder(folder: Path) -> None:
    # The file is replaced; some network file systems cannot sync a folder.
    with suppress(OSError), _opened(folder, os.O_RDONLY) as number:
        os.fsync(number)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)
