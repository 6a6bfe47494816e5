"""The report's files: where they go, and that each appears as a whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apex_pipeline.analytics.csv.csv_files import make_folder, replacing
from apex_pipeline.report.document import Picture, Report
from apex_pipeline.report.markdown import to_markdown
from apex_pipeline.report.page import to_html

FOLDER = "reports"
"""In the state folder, where no other place is named."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report on disk.

    Attributes:
        path: The report.
        pictures: Files beside it, which it shows.
    """

    path: Path
    pictures: tuple[Path, ...]


def default_path(report: Report, state: Path, *, html: bool) -> Path:
    """A file of its own for each minute, in the state folder."""
    name = f"completion-{report.made_at:%Y-%m-%d-%H%M}"
    return state / FOLDER / f"{name}{'.html' if html else '.md'}"


def write(report: Report, path: Path, *, html: bool) -> WrittenReport:
    """Write the file, and in Markdown its pictures beside it.

    Raises:
        ApexError: The file system refuses, with the remedy.
    """
    make_folder(path.parent)
    if html:
        _put(path, to_html(report).encode())
        return WrittenReport(path, ())
    pictures = {_name(path, each): each.png for each in _pictures(report)}
    for name, png in pictures.items():
        _put(path.with_name(name), png)
    text = to_markdown(report, lambda picture: _name(path, picture))
    _put(path, text.encode())
    return WrittenReport(path, tuple(path.with_name(name) for name in pictures))


def _pictures(report: Report) -> Iterator[Picture]:
    for section in report.sections:
        yield from (block for block in section.blocks if isinstance(block, Picture))


def _name(path: Path, picture: Picture) -> str:
    words = _NOT_IN_NAMES.sub("-", picture.title.lower()).strip("-")
    return f"{path.stem}-{words}.png"


def _put(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)
