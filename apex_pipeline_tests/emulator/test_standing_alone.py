"""The emulator is of use without the rest: what it loads, and what is written of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from apex_pipeline.emulator import (
    functions,
    query_functions,
    security,
    service,
    surface,
)
from apex_pipeline.emulator.instance import CLIENT_ID, Emulator, Options
from apex_pipeline.emulator.wire import OperationRequest
from apex_pipeline_tests.emulator import coverage_table

DOCS = Path(__file__).parents[2] / "docs"


def test_the_coverage_table_is_what_the_emulator_says():
    written = (DOCS / "emulator-coverage.md").read_text()
    assert written == coverage_table.table()


def test_the_coverage_table_has_a_line_for_each_message_function_and_route():
    text = coverage_table.table()
    for (method, _), route in surface.ROUTES.items():
        assert f"| {method} | `{route.address}` |" in text
        assert all(f"`{name}`" in text for name in route.options | route.headers)
    assert surface.MESSAGES.keys() == functions.FUNCTIONS.keys()
    for name in (*surface.MESSAGES, *query_functions.NAMES):
        assert name in text


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("import apex_pipeline.emulator.__main__", {"emulator"}),
        (
            "from apex_pipeline.cli import main; main(['emulator', '-h'], standalone_mode=0)",
            {"cli", "flags_and_launchpad_forms", "emulator", "errors", "texts"},
        ),
    ],
    ids=["module", "command"],
)
def test_it_loads_neither_dagster_nor_the_rest_of_the_package(code, rooms):
    code += "\nimport sys; print('loaded', *sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    loaded = shown.rpartition("loaded")[2].split()
    ours = {name for name in loaded if name.startswith("apex_pipeline.")}
    assert {name.split(".")[1] for name in ours} <= rooms
    roots = {name.partition(".")[0] for name in loaded}
    heavy = ("dagster", "sqlalchemy", "psycopg", "pandas", "httpx", "msal", "yoyo")
    assert roots.isdisjoint(heavy)


def test_the_documented_example_passes(tmp_path):
    page = (DOCS / "emulator.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


def test_a_state_file_of_an_earlier_version_is_caught_up(tmp_path):
    """What the platform has gained since is added; definitions are completed."""
    file = tmp_path / "dataverse.sqlite"
    first = Emulator(Options("secret", state_file=file))
    for name in ("contact", "sdkmessage", "sdkmessagefilter"):
        first.environment.drop_table(first.environment.table(name))
    kept = first.environment.table("apex_campaignmetrics").definition
    del kept["ObjectTypeCode"], kept["IsCustomizable"]
    first.storage.save_definition(first.environment.table("apex_campaignmetrics"))
    first.close()
    second = Emulator(Options("secret", state_file=file))
    user = security.principal(second.environment, CLIENT_ID)
    table = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
    for url, text in (
        ("sdkmessagefilters?$filter=primaryobjecttypecode eq 'contact'", b"contact"),
        (f"{table}?$select=ObjectTypeCode,IsCustomizable", b'"ObjectTypeCode":'),
    ):
        path, _, query = url.partition("?")
        request = OperationRequest(
            "GET", path, query, {}, b"", "https://localhost/api/data/v9.2"
        )
        answer = service.handle(second.environment, user, request)
        assert (answer.status, text in answer.body) == (200, True), answer
    second.close()
