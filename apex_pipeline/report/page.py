"""Write a report as one self-contained HTML file."""

import re
from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from apex_pipeline.report.document import (
    Block,
    LineState,
    Picture,
    Report,
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


_CODE = re.compile(r"`([^`]+)`")


def to_html(report: Report) -> str:
    """The whole report, with embedded pictures."""
    return _TEMPLATES.get_template("report.html").render(
        report=report,
        states=list(LineState),
        marks=MARKS,
        counts=counts_in_words(report),
        kind=_kind,
        address=_address,
    )


def _with_code(text: str) -> Markup:
    """Escape text for HTML, except that text between backticks becomes code."""
    parts = _CODE.split(text)
    # Every second part was between backticks.
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


_TEMPLATES.filters["with_code"] = _with_code


def _kind(block: Block) -> str:
    return type(block).__name__


def _address(picture: Picture) -> str:
    return f"data:image/png;base64,{b64encode(picture.png).decode()}"
