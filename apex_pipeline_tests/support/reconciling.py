"""A sync and a reconciliation of the test's two ends, and damage to either."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from apex_pipeline.column_types import Timestamp
from apex_pipeline.metrics import COLUMNS
from apex_pipeline.postgres.database import Database
from apex_pipeline.reconcile.agreement import read_agreement
from apex_pipeline.reconcile.comparison_run import run_reconciliation
from apex_pipeline.reconcile.run_report import ReconcileOptions
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import SyncOptions
from apex_pipeline_tests.support.emulator_server import SET, web_api
from apex_pipeline_tests.support.ends import emulator_settings, query


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


@pytest.fixture
def sync(store, emulator, tmp_path):
    def run(**options):
        return run_sync(
            store,
            emulator_settings(emulator),
            tmp_path / "tokens.json",
            SyncOptions(**options),
        )

    return run


@pytest.fixture
def report(database, emulator, tmp_path):
    """Runs a reconciliation; returns its report."""

    def run(**options):
        return run_reconciliation(
            database,
            emulator_settings(emulator),
            tmp_path / "tokens.json",
            ReconcileOptions(**options),
        )

    return run


@pytest.fixture
def reconcile(database, emulator, report):
    """Runs a reconciliation; returns the run, and how all stands after it."""

    def run(**options):
        ended = report(**options)
        assert ended.failure is None, ended.failure
        assert ended.run is not None, ended.skipped
        return ended.run, read_agreement(database, emulator.url)

    return run


@pytest.fixture
def api(emulator):
    with web_api(emulator) as client:
        yield client


def found(standing) -> set[tuple[str, ...]]:
    """Kind and id of each finding, with the columns that differ."""
    return {
        (each.kind, each.record_id or each.metric_id, *each.columns)
        for each in standing.examples
    }


def ids(database_url) -> list[str]:
    """Ids of all rows, the oldest first."""
    found = query(
        database_url, "SELECT id::text FROM campaign_metrics ORDER BY created_at, id"
    )
    return [one for (one,) in found]


def as_record(database_url, row_id: str, **changes: Any) -> dict[str, Any]:
    """What a flow sends for a row."""
    names = ", ".join(
        "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        if isinstance(column.type, Timestamp)
        else column.postgres
        for column in COLUMNS
    )
    (values,) = query(
        database_url, f"SELECT {names} FROM campaign_metrics WHERE id = '{row_id}'"
    )
    record: dict[str, Any] = {
        column.dataverse: value if isinstance(value, int) else str(value)
        for column, value in zip(COLUMNS, values, strict=True)
    }
    for name in ("apex_costusd", "apex_successrate"):
        record[name] = float(record[name])
    return record | changes


def old_flow(api, database_url, row_id: str, **changes: Any) -> str:
    """Make a record as the replaced flow did: under an id of its own."""
    key = str(uuid4())
    record = as_record(database_url, row_id, **changes)
    answer = api.patch(f"{SET}({key})", json=record)
    assert answer.status_code == 204, answer.text
    return key


def asked(emulator) -> list[str]:
    """Paths and queries of the requests to the Web API since they were cleared."""
    return [
        f"{each['path']}?{each['query']}"
        for each in emulator.requests()
        if "/api/data/" in str(each["path"])
    ]


def numbered(number: int) -> UUID:
    """A UUID that a test can name."""
    return UUID(int=number)
