"""The command apex, and the variables that a test gives it."""

import os
import sys
from pathlib import Path

import pytest

from apex_pipeline_tests.support.ends import environment

APEX = Path(sys.executable).with_name("apex")
INHERITED = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("APEX_", "AZURE_", "DAGSTER_", "DATA"))
}


@pytest.fixture
def variables(emulator, database_url, tmp_path):
    return environment(emulator, database_url, tmp_path / "state")


@pytest.fixture
def apex(variables, tmp_path, forked_apex):
    def run(*arguments, **changes):
        merged = INHERITED | variables | changes
        present = {k: v for k, v in merged.items() if v is not None}
        return forked_apex.run(arguments, env=present, cwd=tmp_path)

    return run
