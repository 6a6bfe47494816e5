"""A report, as its readers see it."""

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

from apex_pipeline.report.document import LineState

HOSTILE = [
    "a | b || c",
    "<script>alert(1)</script>",
    "![x](https://evil.invalid/x.png)",
    "[x](javascript:alert(1))",
    "**bold** _slanted_ ~~gone~~ `code`",
    "<img src=x onerror=alert(1)>",
    "# heading",
    "\\| \\` \\",
    "&lt;b&gt; & &amp;",
    "`a|b` ` <b>",
]


class Seen(HTMLParser):
    """The cells of a document's tables, and whatever else it would show or do."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.cells = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in {"td", "th"}:
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.cells[-1] += data


def as_github_shows(text):
    """Render Markdown as HTML, and let HTML in it pass through."""
    parser = MarkdownIt("commonmark", {"html": True})
    return parser.enable(["table", "strikethrough"]).render(text)


def cells(text):
    """Cells without backticks, which may have become code."""
    return [cell.replace("`", "") for cell in Seen(text).cells]


PASSING = "def test_passes():\n    pass\n"


def told(path):
    """Name of each line to its state and what was measured."""
    states = "|".join(state.value for state in LineState)
    row = re.compile(rf"^\| \S+ \| (.+?) \| ({states}) \| (.+?) \|", re.MULTILINE)
    rows = row.findall(path.read_text())
    return {name: (state, actual) for name, state, actual in rows}
