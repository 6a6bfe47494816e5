"""CSV files read back: the text as it was, and what a spreadsheet would make of it."""

import csv
import io
import re

RFC_4180 = re.compile(
    rb'(?:(?:"(?:[^"]|"")*+"|[^",\r\n]*+)(?:,|\r\n))*+',
)
"""Fields quoted where they must be, separated by commas; records ended by CR LF."""

_GUARD = re.compile(r"(?:^|(?<=[;\t\r\n]))'")
_CELLS = re.compile(r"[;\t\r\n]")

_SIGNS = {*"=+-@", "\uff1d", "\uff0b", "\uff0d", "\uff20"}


def rows(data: bytes) -> list[dict[str, str]]:
    """The records as Python's csv module reads them."""
    text = io.StringIO(data.decode(), newline="")
    return list(csv.DictReader(text, strict=True))


def original(text: str) -> str:
    """Take back what made a text safe, as the documentation says how to."""
    return _GUARD.sub("", text)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet, whatever separates its cells, finds a formula in it."""
    return text[:1] in {"\t", "\r", "\n"} or any(
        cell.lstrip(' "')[:1] in _SIGNS for cell in _CELLS.split(text)
    )
