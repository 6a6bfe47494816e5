"""What we wrote, read back by Microsoft's own SDK."""

from decimal import Decimal

import pytest
from PowerPlatform.Dataverse.client import DataverseClient

from apex_pipeline.metrics import COLUMNS, TABLE
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline_tests.support.emulator_server import MsalCredential
from apex_pipeline_tests.support.ends import (
    campaign_row,
    emulator_settings,
    insert,
    insert_many,
    query,
)


@pytest.fixture
def sdk(emulator, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_bundle))
    with DataverseClient(emulator.url, MsalCredential(emulator)) as client:
        yield client


@pytest.fixture
def synced(store, emulator, database_url, tmp_path):
    """Rows that went through a sync; its report."""
    insert_many(database_url, 300)
    insert(database_url, [campaign_row(phase="Straße 🙂", cost_usd="99999.99999")])
    report = run_sync(
        store,
        emulator_settings(emulator),
        tmp_path / "tokens.json",
        SyncOptions(StreamOptions(rows_per_request=50)),
    )
    assert report.failure is None
    return report


def test_the_sdk_lists_every_row_with_every_column(synced, sdk, database_url):
    columns = [column.dataverse for column in COLUMNS]
    records = {
        record["apex_campaignmetricsid"]: record
        for record in sdk.records.list(TABLE, select=columns)
    }
    rows = query(
        database_url,
        "SELECT id::text, campaign_id::text, phase, tokens_in, cost_usd,"
        " to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
        " FROM campaign_metrics",
    )
    assert len(records) == len(rows) == 301
    for key, campaign, phase, tokens, cost, created in rows:
        record = records[key]
        assert record["apex_campaignid"] == campaign
        assert record["apex_phase"] == phase
        assert record["apex_tokensin"] == tokens
        assert Decimal(str(record["apex_costusd"])) == cost
        assert record["apex_createdat"] == created


def test_the_sdk_finds_one_row_by_its_id(synced, sdk, database_url):
    ((key,),) = query(
        database_url, "SELECT id::text FROM campaign_metrics WHERE phase LIKE 'S%'"
    )
    record = sdk.records.retrieve(TABLE, key, select=["apex_phase", "apex_costusd"])
    assert record["apex_phase"] == "Straße 🙂"
    assert str(record["apex_costusd"]) == "99999.99999"
