"""CSV files as RFC 4180 has them: streamed out of Postgres, and whole or not there.

UTF-8 without a byte order mark, lines that end in CR LF, a header. Any number of rows
needs the same few hundred kilobytes of memory. The same rows give the same bytes, also
compressed: a gzip file here has neither a time nor a name in it.

New files and folders have the mode that the process's umask leaves them; a file that is
replaced passes its own on.
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

# Whoever reads the file may be slow.
_COPY_SECONDS = 3600.0
_BLOCK_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
# Of rows full of random ids, 6 % larger than zlib's own choice, in half the time.
_LEVEL = 3
_PART = ".apex-part"
EPOCH = datetime.fromtimestamp(0, UTC)
"""From which files count their time of modification."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a file holds.

    Attributes:
        rows: Without the header.
        size: Bytes of the file, compressed if it is.
        sha256: Of those bytes, in hexadecimal.
    """

    rows: int
    size: int
    sha256: str


Tell = Callable[[int, int], object]
"""Is told how many rows and bytes there are so far, now and then."""


class Sink(Protocol):
    """Whatever takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of them, or raise OSError."""
        ...


@contextmanager
def snapshot(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Open a connection to which the database stands still, in UTC.

    Raises:
        DatabaseError: One of its kinds, also for what is asked of the connection.
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
        connection: One that `snapshot` has opened.
        selection: The rows.
        sink: Where the bytes go.
        compress: Whether as gzip.
        tell: For whoever waits.

    Raises:
        OSError: The sink's.
        psycopg.Error: For whoever opened the connection to translate.
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
    """Ask for one number."""
    row: tuple[int] | None = connection.execute(statement).fetchone()
    return row[0] if row else 0


class _File:
    """Ends each record as RFC 4180 asks for, packs, counts, and passes on."""

    def __init__(self, sink: Sink, *, compress: bool) -> None:
        self.records = 0
        self.size = 0
        self._sink = sink
        self._packer = zlib.compressobj(_LEVEL, wbits=_GZIP) if compress else None
        self._digest = hashlib.sha256()

    def write(self, block: bytes) -> None:
        """Take the next records that Postgres writes, each of them whole."""
        # It ends them with LF. One that is quoted belongs to a value; a quote that
        # belongs to a value is doubled, and so changes nothing.
        pieces = block.split(b'"')
        for number in range(0, len(pieces), 2):
            self.records += pieces[number].count(b"\n")
            pieces[number] = pieces[number].replace(b"\n", b"\r\n")
        data = b'"'.join(pieces)
        self._pass_on(self._packer.compress(data) if self._packer else data)

    def finish(self) -> Written:
        """Write what is held back."""
        if self._packer:
            self._pass_on(self._packer.flush())
        return Written(self.records - 1, self.size, self._digest.hexdigest())

    def _pass_on(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
            self._digest.update(data)
            self.size += len(data)


def count_rows(path: Path) -> int:
    """Read a plain file back, as anybody would, and count its rows without the header.

    Raises:
        ApexError: It cannot be read, or is no CSV.
    """
    # Python's limit is 128 KB; a text in Postgres may have a gigabyte.
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.reader(file, strict=True)) - 1
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ApexError(f"{path} cannot be read back: {error}.") from error


@contextmanager
def replacing(path: Path, *, modified: datetime | None = None) -> Iterator[BinaryIO]:
    """Open a file that takes the place of *path* as a whole, when all went well.

    Until then *path* is what it was. Being killed leaves a hidden part behind, which
    the next file in that folder clears away.

    Args:
        path: Where it goes; a folder must be there.
        modified: When it says that it was modified; None for now.

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
            # Closing tries once more to write what could not be written.
            with suppress(OSError):
                part.close()
        _sync_folder(path.parent)


def _keep_mode(path: Path, part: int) -> None:
    """Let nobody read the new file who could not read the one in its place."""
    with suppress(FileNotFoundError):
        os.fchmod(part, stat.S_IMODE(path.stat().st_mode))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, which then are this user's alone.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(exist_ok=True)


@contextmanager
def explained(place: Path | str) -> Iterator[None]:
    """Turn what the file system refuses into an error with its remedy.

    Raises:
        ApexError: It refuses.
        BrokenPipeError: Whoever read the pipe has closed it, which is no fault.
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


_LOOK = "Look at the folder, or name another one."
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
    """Create a file that is locked as long as its writer lives."""
    while True:
        name = folder / f".{secrets.token_hex(8)}{_PART}"
        # O_EXCL follows no link that somebody has laid there.
        number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        file = os.fdopen(number, "wb")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(number).st_nlink:
            return file, name
        # Another process took it for abandoned before it was locked.
        file.close()


def _remove_abandoned(folder: Path) -> None:
    for name in folder.glob(f".*{_PART}"):
        # One that is locked, gone by now or another user's is not ours to clear away.
        with suppress(OSError), _opened(name, os.O_RDWR) as number:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()


def _sync_folder(folder: Path) -> None:
    # The file is in its place; some network file systems do not know how to sync that.
    with suppress(OSError), _opened(folder, os.O_RDONLY) as number:
        os.fsync(number)


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)
