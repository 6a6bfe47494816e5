"""Read CSV as spreadsheets write it: a header row, then one record per row."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

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


class Dialect(StrEnum):
    """Separators of cells and decimals."""

    EXCEL = "excel"
    """Commas between cells, points in numbers."""

    EXCEL_EU = "excel-eu"
    """Semicolons or tabs between cells, commas in numbers."""


_DELIMITERS = {Dialect.EXCEL: ",", Dialect.EXCEL_EU: ";\t"}
_NAMES = {";": "semicolons", "\t": "tabs", ",": "commas"}

DELIMITERS = tuple(_NAMES)

_QUOTED = re.compile(r'"(?:[^"]|"")*"')
# A line that Excel writes before the header to declare the separator.
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The rows of a file, the header first.

    Attributes:
        delimiter: What the file says or its header shows; it may be none of ours.
        skipped: How many lines lie before the header.
    """

    delimiter: str
    skipped: int
    _lines: Iterable[str]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of each row's first line, and its cells; no blank lines.

        Raises:
            InvalidRecordError: From the iterator: the file is not CSV.
        """
        reader = csv.reader(self._lines, delimiter=self.delimiter, strict=True)
        end = 0
        try:
            for cells in reader:
                # Quoted cells may contain line ends, so count from the end of the last row.
                number, end = end + 1 + self.skipped, reader.line_num
                if cells or number == self.skipped + 1:
                    yield number, cells
        except csv.Error as error:
            raise InvalidRecordError(
                f"line {reader.line_num + self.skipped}: invalid CSV: {error}; nothing "
                "was written."
            ) from None


def open_table(texts: Iterator[str]) -> CsvTable:
    """Find out how the cells of a file are separated.

    Args:
        texts: Its lines, with line ends.

    Raises:
        InvalidRecordError: It is UTF-16 without a byte order mark.
    """
    first = next(texts, "")
    if "\0" in first:
        raise _no_header(
            1, "the file is UTF-16 without a byte order mark; save it as UTF-8"
        )
    is_separator = _SEPARATOR.fullmatch(first.rstrip("\r\n"))
    heading = next(texts, "") if is_separator else first
    delimiter = is_separator[1] if is_separator else _delimiter(heading)
    return CsvTable(delimiter, 1 if is_separator else 0, chain([heading], texts))


def cell_problem(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """What is wrong with the number of a row's cells."""
    if len(cells) == len(header):
        return None
    return f"has {len(cells)} cells; the header has {len(header)}"


def read_csv(texts: Iterator[str], dialect: Dialect) -> Iterator[RecordLine]:
    """Yield the records of a file lazily.

    Args:
        texts: Its lines, with line ends.
        dialect: Its dialect; never guessed, because 1,234 is a number in both.

    Raises:
        InvalidRecordError: From the iterator: the file does not match the dialect.
    """
    table = open_table(texts)
    if table.delimiter not in _DELIMITERS[dialect]:
        refusal = _refusal(table.delimiter, dialect)
        raise InvalidRecordError(refusal, "Nothing was written.")
    rows = table.rows()
    number, found = next(rows, (table.skipped + 1, []))
    header, spelling = _read_header(found, number)
    for number, cells in rows:
        if problem := cell_problem(cells, header):
            yield RecordLine(number, {}, (problem,))
            continue
        given = dict(zip(header, cells, strict=True))
        has_commas = dialect is Dialect.EXCEL_EU
        yield RecordLine(number, parse_cells(given, spelling, decimal_comma=has_commas))


def _delimiter(heading: str) -> str:
    """Detect the separator of the header, outside quotes."""
    bare = _QUOTED.sub("", heading)
    counts = {each: bare.count(each) for each in (",", ";", "\t")}
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
