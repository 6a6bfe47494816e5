"""What `just release` makes: the same bytes from the same sources, and what is in them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apex_pipeline_tests.support.source_tree import MODULES

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("apex_pipeline", "apex_pipeline_tests", "sql", "pyproject.toml", "README.md"),
    *("LICENSE", "dagster.yaml", "workspace.yaml", ".gitignore"),
)
RECIPE = (ROOT / "justfile").read_text(encoding="utf-8")
REQUIREMENTS = ROOT / "deploy" / "requirements.txt"


def built(folder: Path, *, umask: int, time: int) -> dict[str, str]:
    """Sums of sdist and wheel from a copy of the sources, changed as a checkout may be."""
    copy = folder / "sources"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    for path in copy.rglob("*"):
        os.utime(path, (time, time))
        if path.is_file():
            path.chmod(0o666 & ~umask)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder / "dist")]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "dist").iterdir()
    }


def test_no_page_and_no_message_installs_the_project_by_its_name():
    """It is in no index: that fails, or installs what somebody else called so."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    by_name = re.compile(
        r"apex[-_]pipeline\[|(install|--from) ['\"]?apex[-_]pipeline['\"]?(\s|$)"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in (*pages, *MODULES)
        for line in path.read_text().splitlines()
        if by_name.search(line)
    ]
    assert found == []


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes(tmp_path):
    first = built(tmp_path / "one", umask=0o022, time=1_700_000_000)
    second = built(tmp_path / "two", umask=0o077, time=1_750_000_000)
    assert len(first) == 2
    assert first == second


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_the_image_installs(tmp_path):
    (found,) = re.findall(r"cyclonedx-py (.*?) -o \S+\n", RECIPE, re.DOTALL)
    arguments = found.replace("\\\n", " ").split()
    bills = []
    for name in ("one", "two"):
        target = tmp_path / name
        command = [sys.executable, "-m", "cyclonedx_py", *arguments, "-o", str(target)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        bills.append(target.read_bytes())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "apex-pipeline"
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", REQUIREMENTS.read_text(), re.MULTILINE)
    listed = [(each["name"], each["version"]) for each in bill["components"]]
    assert sorted(listed) == sorted(pinned)
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])
