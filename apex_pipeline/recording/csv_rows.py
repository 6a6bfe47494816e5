"""Read CSV as spreadsheets write it: a header row, then one record per row."""

import csv
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from apex_pipeline.errors import InvalidRecordError
from apex_pipeline.recording.fields import (
    AGENTS,
    ID,
    OPTIONAL,
    POSTGRES,
    Spelling,
    spelling_of,
)
from apex_pipeline.recording.loading import RecordLine
from apex_pipeline.recording.parsing import parse_cells

if TYPE_CHECKING:
    import _csv


class Dialect(StrEnum):
    """Separators of cells and decimals."""

    EXCEL = "excel"
    """Commas between cells, points in numbers."""

    EXCEL_EU = "excel-eu"
    """Semicolons or tabs between cells, commas in numbers."""


_DELIMITERS = {Dialect.EXCEL: ",", Dialect.EXCEL_EU: ";\t"}
_NAMES = {";": "semicolons", "\t": "tabs", ",": "commas"}

# A line that Excel writes before the header to declare the separator.
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


def read_csv(texts: Iterator[str], dialect: Dialect) -> Iterator[RecordLine]:
    """Yield the records of a file lazily.

    Args:
        texts: Its lines, with line ends.
        dialect: Its dialect; never guessed, because 1,234 is a number in both.

    Raises:
        InvalidRecordError: From the iterator: the file does not match the dialect.
    """
    first = next(texts, "")
    if "\0" in first:
        raise _no_header(
            1, "the file is UTF-16 without a byte order mark; save it as UTF-8"
        )
    is_separator = _SEPARATOR.fullmatch(first.rstrip("\r\n"))
    skipped = 1 if is_separator else 0
    heading = next(texts, "") if is_separator else first
    delimiter = is_separator[1] if is_separator else _delimiter(heading)
    if delimiter not in _DELIMITERS[dialect]:
        raise InvalidRecordError(_refusal(delimiter, dialect), "Nothing was written.")
    reader = csv.reader(chain([heading], texts), delimiter=delimiter, strict=True)
    try:
        yield from _lines(reader, dialect, skipped)
    except csv.Error as error:
        raise InvalidRecordError(
            f"line {reader.line_num + skipped}: invalid CSV: {error}; nothing was "
            "written."
        ) from None


def _lines(
    reader: "_csv.Reader", dialect: Dialect, skipped: int
) -> Iterator[RecordLine]:
    header, spelling = _read_header(next(reader, []), skipped + 1)
    end = reader.line_num
    for cells in reader:
        # Quoted cells may contain line ends, so count from the end of the last record.
        number, end = end + 1 + skipped, reader.line_num
        if not cells:
            continue
        if len(cells) != len(header):
            problem = f"has {len(cells)} cells; the header has {len(header)}"
            yield RecordLine(number, {}, (problem,))
            continue
        given = dict(zip(header, cells, strict=True))
        has_commas = dialect is Dialect.EXCEL_EU
        yield RecordLine(number, parse_cells(given, spelling, decimal_comma=has_commas))


def _delimiter(heading: str) -> str:
    """Detect the separator of the header; column names contain none of them."""
    counts = {each: heading.count(each) for each in (",", ";", "\t")}
    return max(counts, key=lambda each: counts[each])


def _refusal(delimiter: str, dialect: Dialect) -> str:
    found = _NAMES.get(delimiter, repr(delimiter))
    if dialect is Dialect.EXCEL_EU:
        return (
            f"line 1: the cells are separated by {found}, but --dialect {dialect} expects "
            "semicolons or tabs. Remove --dialect"
        )
    return (
        f"line 1: the cells must be separated by commas, not {found}. In Excel, save the "
        'file as "CSV UTF-8 (Comma delimited)" in a region with decimal points. If its '
        f"numbers have decimal commas, pass --dialect {Dialect.EXCEL_EU}"
    )


def _read_header(found: Sequence[str], number: int) -> tuple[list[str], Spelling]:
    """Validate the header; return its names in one spelling, and that spelling.

    Raises:
        InvalidRecordError: Columns are missing, unknown or repeated; lists all problems.
    """
    header = [name.strip() for name in found]
    spelling = spelling_of(header)
    other = AGENTS if spelling is POSTGRES else POSTGRES
    header = [
        spelling.names[other.columns[name]]
        if name in other.columns and name not in spelling.columns
        else name
        for name in header
    ]
    problems = _header_problems(header, spelling)
    if not problems:
        return header, spelling
    if not any(header):
        problems = ["the file is empty"]
    raise _no_header(number, *problems[:20])


def _no_header(number: int, *problems: str) -> InvalidRecordError:
    return InvalidRecordError(
        f"line {number} must be the header: " + "; ".join(problems),
        "Nothing was written.",
    )


def _header_problems(header: Sequence[str], spelling: Spelling) -> list[str]:
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
        f"{name} appears twice" for name in spelling.columns if header.count(name) > 1
    ]
    return problems
