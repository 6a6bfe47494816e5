"""Files of records: JSON Lines and CSV, plain or compressed by gzip, line by line."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path, PurePath
from typing import IO

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.recording.fields import ID, OPTIONAL, Spelling, spelling_of
from apex_pipeline.recording.loading import Line, Reject
from apex_pipeline.recording.parsing import parse_cells, parse_json

MAX_LINE_BYTES = 1_000_000
"""Longer than any record; what is longer is no file of records."""

_CHUNK_BYTES = 256 * 1024


class Format(StrEnum):
    """How the records are written down."""

    JSON_LINES = "jsonl"
    CSV = "csv"


_SUFFIXES = {
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".csv": Format.CSV,
}


def format_of(name: str) -> Format | None:
    """The format that a file's name tells; None if it tells none."""
    path = PurePath(name.lower())
    return _SUFFIXES.get(path.with_suffix("").suffix if is_gzip(name) else path.suffix)


def is_gzip(name: str) -> bool:
    """Whether a file's name says that it is compressed."""
    return name.lower().endswith(".gz")


def read_lines(stream: IO[bytes], written: Format) -> Iterator[Line]:
    """Read the records of a file, as they are needed.

    Raises:
        InvalidRecordError: From the iterator: the file is not of this format, and no
            line of it can be trusted.
    """
    match written:
        case Format.JSON_LINES:
            return _read_json_lines(stream)
        case Format.CSV:
            return _read_csv(stream)


@contextmanager
def opened(
    raw: IO[bytes], *, compressed: bool, tell: Callable[[int], None]
) -> Iterator[IO[bytes]]:
    """A stream as it is to be read; `tell` hears how many bytes of the file are.

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
def reporting(report: Path | None) -> Iterator[Reject | None]:
    """Write bad lines down; the report is there once the good lines are."""
    if report is None:
        yield None
        return
    partial = report.with_name(f"{report.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as out:

            def reject(number: int, problems: Sequence[str]) -> None:
                line = {"line": number, "problems": problems}
                out.write(f"{json.dumps(line, ensure_ascii=False)}\n")

            yield reject
        partial.replace(report)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class _Counted(io.RawIOBase):
    """Passes a stream on, and says how far it was read."""

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


def _texts(stream: IO[bytes]) -> Iterator[str]:
    """The lines of a file; bytes that are not UTF-8 become surrogates, no field's value.

    Raises:
        InvalidRecordError: A line has no end.
    """
    number = 0
    while data := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(data) > MAX_LINE_BYTES:
            raise InvalidRecordError(
                f"line {number} is longer than {MAX_LINE_BYTES} bytes: this is no file "
                "of records; nothing was written."
            )
        if number == 1:
            data = data.removeprefix(codecs.BOM_UTF8)
        yield data.decode(errors="surrogateescape")


def _read_json_lines(stream: IO[bytes]) -> Iterator[Line]:
    for number, text in enumerate(_texts(stream), start=1):
        if not text.strip():
            continue
        try:
            yield Line(number, parse_json(text))
        except InvalidRecordError as error:
            yield Line(number, {}, error.problems)


def _read_csv(stream: IO[bytes]) -> Iterator[Line]:
    reader = csv.reader(_texts(stream), strict=True)
    try:
        header = next(reader, [])
        spelling = _check_header(header)
        end = reader.line_num
        for cells in reader:
            # A quoted cell may hold line ends; the record begins after the last one.
            number, end = end + 1, reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                problem = f"has {len(cells)} cells; the header has {len(header)}"
                yield Line(number, {}, (problem,))
                continue
            given = dict(zip(header, cells, strict=True))
            yield Line(number, parse_cells(given, spelling))
    except csv.Error as error:
        raise InvalidRecordError(
            f"line {reader.line_num}: this is not CSV: {error}; nothing was written."
        ) from None


def _check_header(header: Sequence[str]) -> Spelling:
    """The spelling of a header that names what it has to, each once.

    Raises:
        InvalidRecordError: It does not. Everything about it is named.
    """
    spelling = spelling_of(header)
    wanted = [
        name for c, name in spelling.names.items() if c not in OPTIONAL and c != ID
    ]
    problems = [f"{n} is missing" for n in wanted if n not in header]
    problems += [
        f"{name[:40]!r} is not a field"
        for name in dict.fromkeys(header)
        if name not in spelling.columns
    ]
    problems += [
        f"{name} is there twice" for name in spelling.columns if header.count(name) > 1
    ]
    if not problems:
        return spelling
    if not header:
        problems = ["the file is empty"]
    elif len(header) == 1 and {";", "\t"} & set(header[0]):
        problems = ["commas have to stand between the cells"]
    raise InvalidRecordError(
        "line 1 has to name the columns: " + "; ".join(problems[:20]),
        "Nothing was written.",
    )
