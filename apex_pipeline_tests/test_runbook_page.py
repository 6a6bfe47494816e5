"""What the runbook quotes is what the code says, or a search for it finds nothing."""

import ast
import re
from pathlib import Path

import pytest

from apex_pipeline_tests.support.source_tree import MODULES, nodes

PAGE = (Path(__file__).parents[1] / "docs" / "runbook.md").read_text()

OF_OTHERS = {
    "AADSTS7000215",
    "AADSTS700016",
    "is missing prvCreate…",
    "permission denied for table writer_lock",
}
"""What Entra, Dataverse and Postgres say in words that the code has nowhere."""


def first_cells(heading: str) -> list[str]:
    """The first cell of each row of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| ", section, re.MULTILINE)
    assert len(rows) > 20
    return rows[1:]


def sentence(node: ast.AST) -> str:
    """A text of the code, with `…` for each value in it."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(sentence(part) or "…" for part in parts)
        case _:
            return ""


@pytest.fixture(scope="module")
def code() -> str:
    texts = {sentence(node) for path in MODULES for node in nodes(path)}
    return "\n".join(texts).replace("`", "")


def missing(quoted: str, code: str) -> list[str]:
    """The parts between the dots that stand nowhere in the code."""
    parts = (part.strip(" .:()") for part in quoted.split("…"))
    return [part for part in parts if part not in code]


def test_every_alert_has_the_title_that_the_code_gives_it(code):
    assert [each for each in first_cells("Alerts") if missing(each, code)] == []


def test_every_message_is_one_that_the_code_says(code):
    cells = first_cells("Messages of runs and commands")
    quoted = {each for cell in cells for each in re.findall(r"`([^`]+)`", cell)}
    assert {each for each in quoted if missing(each, code)} == OF_OTHERS
