"""The threat model names modules and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]


def files(cell: str) -> list[str]:
    return re.findall(r"`([\w/]+\.py)`", cell)


def test_every_row_says_by_what_it_is_enforced_and_tested():
    assert len(ROWS) > 10
    for row in ROWS:
        *_, enforced, test = row.strip("| ").split(" | ")
        assert files(test), row
        assert files(enforced) or "privileges" in enforced or "`sync/`" in enforced, row


def test_what_enforces_it_is_there():
    for row in ROWS:
        *_, enforced, _ = row.strip("| ").split(" | ")
        # A second file of the same folder goes without it.
        names = {path.name for path in (ROOT / "apex_pipeline").rglob("*.py")}
        for file in files(enforced):
            is_path = (ROOT / "apex_pipeline" / file).is_file()
            assert is_path or ("/" not in file and file in names), file


def test_every_test_that_is_named_is_in_its_file():
    for row in ROWS:
        test = row.strip("| ").split(" | ")[-1]
        text = ""
        for file, name in re.findall(r"`([\w/]+\.py)`|`(test_\w+)`", test):
            if file:
                text = (ROOT / "apex_pipeline_tests" / file).read_text()
            else:
                assert f"def {name}(" in text, name
