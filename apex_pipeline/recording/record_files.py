"""Read files of records line by line: JSON Lines and CSV, plain or gzipped."""

import codecs
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePath
from tempfile import mkstemp
from typing import IO, TYPE_CHECKING, Any

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.recording.csv_rows import Dialect, read_csv
from apex_pipeline.recording.loading import RecordLine, Reject
from apex_pipeline.recording.parsing import parse_json

MAX_LINE_BYTES = 1_000_000
"""Longer than any record; a longer line means that this is not a file of records."""

_CHUNK_BYTES = 256 * 1024

if TYPE_CHECKING:
    _Buffered = io.BufferedReader[Any]


class Format(StrEnum):
    """Format of a file of records."""

    JSON_LINES = "jsonl"
    CSV = "csv"


_SUFFIXES = {
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".csv": Format.CSV,
}


def format_of(name: str) -> Format | None:
    """Return the format that a file's name implies; None if unknown."""
    path = PurePath(name.lower())
    return _SUFFIXES.get(path.with_suffix("").suffix if is_gzip(name) else path.suffix)


def is_gzip(name: str) -> bool:
    """Whether a file's name implies gzip."""
    return name.lower().endswith(".gz")


def read_lines(
    stream: "_Buffered", written: Format, dialect: Dialect = Dialect.EXCEL
) -> Iterator[RecordLine]:
    """Yield the records of a file lazily.

    Args:
        stream: The file.
        written: Its format.
        dialect: Its dialect; only for CSV.

    Raises:
        InvalidRecordError: From the iterator: the file as a whole does not have this
            format.
    """
    match written:
        case Format.JSON_LINES:
            return _read_json_lines(stream)
        case Format.CSV:
            return read_csv(texts(stream), dialect)


@contextmanager
def opened(
    raw: IO[bytes], *, compressed: bool, tell: Callable[[int], None] = lambda _: None
) -> Iterator["_Buffered"]:
    """Yield a decompressed stream; `tell` is called with the bytes read so far.

    Raises:
        InvalidRecordError: From the block: the compressed file is damaged.
    """
    counted = io.BufferedReader(_Counted(raw, tell), _CHUNK_BYTES)
    if not compressed:
        yield counted
        return
    try:
        with gzip.open(counted) as stream:
            yield io.BufferedReader(stream, _CHUNK_BYTES)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidRecordError(
            f"the compressed file is damaged: {error}; nothing was written."
        ) from None


@contextmanager
def reporting(report: Path | None, *, replaces: bool = True) -> Iterator[Reject | None]:
    """Write invalid lines to a report, which appears once the valid lines are written.

    Args:
        report: The file, for its owner alone; None for none.
        replaces: Whether it may take the place of a file.

    Raises:
        FileExistsError: It may not, and another program has made one meanwhile.
    """
    if report is None:
        yield None
        return
    # Under a name that no other file has.
    handle, name = mkstemp(prefix=f".{report.name}.", dir=report.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as out:

            def reject(number: int, problems: Sequence[str]) -> None:
                line = {"line": number, "problems": problems}
                out.write(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n")

            yield reject
        if replaces:
            partial.replace(report)
        else:
            report.hardlink_to(partial)
    finally:
        partial.unlink(missing_ok=True)


class _Counted(io.RawIOBase):
    """Forwards a stream and reports how many bytes were read."""

    def __init__(self, raw: IO[bytes], tell: Callable[[int], None]) -> None:
        self._raw = raw
        self._tell = tell
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has any buffer
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        self._tell(self._read)
        return len(data)


def texts(stream: "_Buffered") -> Iterator[str]:
    """Yield the lines of a file: UTF-8 or, with a byte order mark, UTF-16.

    Bytes that are not UTF-8 become surrogates, which validation rejects.

    Raises:
        InvalidRecordError: A line is too long, or the file is not valid UTF-16.
    """
    if stream.peek(2)[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        # Excel's "Unicode text", and PowerShell's > operator.
        return _utf16_texts(stream)
    return _utf8_texts(stream)


def _utf16_texts(stream: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-16")()
    number, rest, is_over = 0, "", False
    while not is_over:
        data = stream.read(_CHUNK_BYTES)
        is_over = not data
        try:
            *whole, rest = (rest + decoder.decode(data, is_over)).split("\n")
        except UnicodeDecodeError:
            raise InvalidRecordError(
                f"after line {number} the file is no longer valid UTF-16; nothing was "
                "written."
            ) from None
        for line in whole:
            number += 1
            yield f"{line}\n"
        if len(rest) > MAX_LINE_BYTES:
            raise _endless(number + 1)
    if rest:
        yield rest


def _utf8_texts(stream: IO[bytes]) -> Iterator[str]:
    number = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES:
            raise _endless(number)
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        yield data.decode(errors="surrogateescape")


def _endless(number: int) -> InvalidRecordError:
    return InvalidRecordError(
        f"line {number} is longer than {MAX_LINE_BYTES} bytes, so this is not a file of "
        "records; nothing was written."
    )


def _read_json_lines(stream: "_Buffered") -> Iterator[RecordLine]:
    for number, text in enumerate(texts(stream), start=1):
        if not text.strip():
            continue
        try:
            yield RecordLine(number, parse_json(text))
        except InvalidRecordError as error:
            yield RecordLine(number, {}, error.problems)
