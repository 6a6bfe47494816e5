"""Write the report's files, each of them atomically."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apex_pipeline.analytics.csv.csv_files import make_folder, replacing
from apex_pipeline.report.document import Picture, Report
from apex_pipeline.report.markdown import to_markdown
from apex_pipeline.report.page import to_html

FOLDER = "reports"
"""Default folder of reports, in the state folder."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report on disk.

    Attributes:
        path: The report.
        pictures: Picture files next to it.
    """

    path: Path
    pictures: tuple[Path, ...]


def default_path(report: Report, state: Path, *, html: bool) -> Path:
    """The default path in the state folder, different for each minute."""
    name = f"completion-{report.made_at:%Y-%m-%d-%H%M}"
    return state / FOLDER / f"{name}{'.html' if html else '.md'}"


def write(report: Report, path: Path, *, html: bool) -> WrittenReport:
    """Write the file and, for Markdown, its pictures next to it.

    Raises:
        ApexError: The files cannot be written; the message has the remedy.
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
