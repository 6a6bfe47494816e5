"""A report as one HTML file that needs nothing besides itself."""

from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from apex_pipeline.report.document import (
    Block,
    Picture,
    Report,
    State,
    counts_in_words,
)
from apex_pipeline.report.markdown import MARKS

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def to_html(report: Report) -> str:
    """The whole report, its pictures in it."""
    return _TEMPLATES.get_template("report.html").render(
        report=report,
        states=list(State),
        marks=MARKS,
        counts=counts_in_words(report),
        kind=_kind,
        address=_address,
    )


def _kind(block: Block) -> str:
    return type(block).__name__


def _address(picture: Picture) -> str:
    return f"data:image/png;base64,{b64encode(picture.png).decode()}"
