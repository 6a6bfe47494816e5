"""Write the report's files, each of them atomically."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from apex_pipeline.analytics.csv.export_stores import ExportStore, store_at
from apex_pipeline.report.document import Picture, Report
from apex_pipeline.report.markdown import to_markdown
from apex_pipeline.report.page import to_html
from apex_pipeline.settings import load_export_url, state_dir

FOLDER = "reports"
"""Default folder of reports."""

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A written report.

    Attributes:
        place: Path or URL of the report.
        pictures: Those of the picture files next to it.
    """

    place: str
    pictures: tuple[str, ...]


def default_store(environment: Mapping[str, str]) -> ExportStore:
    """Beside the CSV files where they go to an object store, else in the state folder.

    Raises:
        ConfigError: APEX_EXPORT_DIR is malformed, or its adapter not installed.
    """
    url = load_export_url(environment)
    folder = state_dir(environment) / FOLDER
    return store_at(url and f"{url}/{FOLDER}", folder)


def default_name(report: Report, *, html: bool) -> str:
    """The default name, different for each minute."""
    return f"completion-{report.made_at:%Y-%m-%d-%H%M}{'.html' if html else '.md'}"


def write(
    report: Report, store: ExportStore, name: str, *, html: bool
) -> WrittenReport:
    """Write the file and, for Markdown, its pictures next to it.

    Raises:
        ApexError: The files cannot be written; the message has the remedy.
    """
    if html:
        _put(store, name, to_html(report).encode())
        return WrittenReport(store.place(name), ())
    stem = PurePosixPath(name).stem
    pictures = {_name(stem, each): each.png for each in _pictures(report)}
    beside = {each: str(PurePosixPath(name).with_name(each)) for each in pictures}
    for each, png in pictures.items():
        _put(store, beside[each], png)
    text = to_markdown(report, lambda picture: _name(stem, picture))
    _put(store, name, text.encode())
    return WrittenReport(
        store.place(name), tuple(store.place(each) for each in beside.values())
    )


def _pictures(report: Report) -> Iterator[Picture]:
    for section in report.sections:
        yield from (block for block in section.blocks if isinstance(block, Picture))


def _name(stem: str, picture: Picture) -> str:
    words = _NOT_IN_NAMES.sub("-", picture.title.lower()).strip("-")
    return f"{stem}-{words}.png"


def _put(store: ExportStore, name: str, data: bytes) -> None:
    with store.replacing(name) as file:
        file.write(data)
