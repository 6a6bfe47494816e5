"""Rows held against their records: what is found, and that nothing else is."""

import json
from uuid import uuid4

import psycopg
import pytest

from apex_pipeline.database import Database
from apex_pipeline.reconcile.findings import Kind
from apex_pipeline.reconcile.run import ReconcileOptions, run_reconciliation
from apex_pipeline.reconcile.standing import read_standing
from apex_pipeline.sync import SyncOptions, run_sync
from apex_pipeline_tests.emulator_server import SET, UPSERT, campaign_metric, web_api
from apex_pipeline_tests.ends import (
    campaign_row,
    delivered,
    differences,
    emulator_settings,
    execute,
    insert,
    insert_many,
    marked,
    query,
)


@pytest.fixture
def database(database_url):
    with Database(database_url, application_name="tests") as opened:
        yield opened


@pytest.fixture
def sync(store, emulator, tmp_path):
    def run(**options):
        report = run_sync(
            store,
            emulator_settings(emulator),
            tmp_path / "tokens.json",
            SyncOptions(**options),
        )
        assert report.failure is None
        return report

    return run


@pytest.fixture
def reconcile(database, emulator, tmp_path):
    """Runs a reconciliation, and returns the run and how all stands after it."""

    def run(**options):
        settings = emulator_settings(emulator)
        report = run_reconciliation(
            database, settings, tmp_path / "tokens.json", ReconcileOptions(**options)
        )
        assert report.failure is None, report.failure
        assert report.run is not None, report.skipped
        return report.run, read_standing(database, settings.resource)

    return run


@pytest.fixture
def api(emulator):
    with web_api(emulator) as client:
        yield client


def found(standing):
    """Kind and id of each finding, with the columns that differ."""
    return {
        (
            each.kind,
            each.record_id or each.metric_id,
            *each.columns,
        )
        for each in standing.examples
    }


def ids(database_url):
    return [
        one
        for (one,) in query(
            database_url,
            "SELECT id::text FROM campaign_metrics ORDER BY created_at, id",
        )
    ]


def test_equal_ends_have_no_findings(sync, reconcile, database_url):
    insert_many(database_url, 120)
    sync()
    run, standing = reconcile()
    assert standing.is_settled
    assert (run.is_complete, run.rows_compared, run.note) == (True, 120, None)


def test_each_kind_of_damage_is_found_and_named(sync, reconcile, api, database_url):
    insert_many(database_url, 12)
    sync()
    missing, different, held_twice, *_ = ids(database_url)
    api.delete(f"{SET}({missing})")
    api.patch(f"{SET}({different})", json={"apex_costusd": 9.5, "apex_phase": "x"})
    copy = {
        name: value
        for name, value in api.get(f"{SET}({held_twice})").json().items()
        if name.startswith("apex_") and name != "apex_campaignmetricsid"
    }
    double, unknown = str(uuid4()), str(uuid4())
    assert api.patch(f"{SET}({double})", json=copy).status_code == 204
    assert api.patch(f"{SET}({unknown})", json={"apex_phase": "?"}).status_code == 204
    _, standing = reconcile()
    assert found(standing) == {
        (Kind.MISSING, missing),
        (Kind.DIFFERENT, different, "phase", "cost_usd"),
        (Kind.DOUBLE, double),
        (Kind.UNKNOWN, unknown),
    }


def test_repair_lets_the_next_sync_send_what_is_missing_or_differs(
    sync, reconcile, api, emulator, database_url
):
    insert_many(database_url, 30)
    sync()
    missing, different, *_ = ids(database_url)
    api.delete(f"{SET}({missing})")
    api.patch(f"{SET}({different})", json={"apex_tokensin": 0})
    run, standing = reconcile(repair=True)
    assert run.repaired == 2
    assert standing.is_settled
    assert marked(database_url) == set(ids(database_url)) - {missing, different}
    sync()
    assert differences(emulator, database_url) == []
    assert reconcile()[1].is_settled
