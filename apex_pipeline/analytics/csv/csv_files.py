"""Write CSV files (RFC 4180) from Postgres, streamed, and count their rows.

Files are UTF-8 without a byte order mark, with CR LF line ends and a header. Memory use is a
few hundred kilobytes, whatever the number of rows. The same rows give the same bytes, also
compressed: the gzip header contains neither time nor name.
"""

import csv
import hashlib
import io
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import psycopg
from psycopg import sql

from apex_pipeline.analytics.csv.csv_datasets import ExportSelection
from apex_pipeline.analytics.csv.csv_queries import copy_statement
from apex_pipeline.errors import ApexError
from apex_pipeline.postgres.database import Database
from apex_pipeline.postgres.time_limits import STATEMENT_SECONDS, limits_of

# The reader of a pipe may be slow.
_COPY_SECONDS = 3600.0
_BLOCK_BYTES = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
# Of rows full of random ids, 6 % larger than zlib's own choice, in half the time.
_LEVEL = 3
# Of the process: who puts it back must be the one who changed it.
_LIMIT = threading.Lock()


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


class ByteSink(Protocol):
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
    selection: ExportSelection,
    sink: ByteSink,
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

    def __init__(self, sink: ByteSink, *, compress: bool) -> None:
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


def count_rows(file: BinaryIO, place: str) -> int:
    """Read an uncompressed file back and count its rows, without the header.

    Args:
        file: The file; it is read to its end.
        place: Its name, for the message.

    Raises:
        ApexError: It cannot be read, or is not CSV.
    """
    text = io.TextIOWrapper(file, newline="", encoding="utf-8")
    try:
        with _cells_of_any_length():
            rows = sum(1 for _ in csv.reader(text, strict=True)) - 1
        text.detach()
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ApexError(f"{place} cannot be read back: {error}.") from error
    return rows


@contextmanager
def _cells_of_any_length() -> Iterator[None]:
    """Let the process read what Postgres holds: a text may be a gigabyte long.

    Python's limit is 128 KB, which other readers of the process keep afterwards.
    """
    with _LIMIT:
        before = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(before)
