"""Microsoft's own Python SDK, which knows nothing of the emulator, against it."""

from collections.abc import Iterator

import pytest
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.emulator_server import (
    MsalCredential,
    campaign_metric,
    emulator,
    shared_emulator,
)

__all__ = ["emulator", "shared_emulator"]

TABLE = "apex_campaignmetrics"


@pytest.fixture
def client(
    emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DataverseClient]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_bundle))
    with DataverseClient(emulator.url, MsalCredential(emulator)) as client:
        yield client


def record(**overrides):
    filled = campaign_metric(**overrides)
    del filled["@odata.type"], filled["apex_campaignmetricsid"]
    return filled


def test_create_retrieve_update_delete(client, emulator):
    record_id = client.records.create(TABLE, record(apex_runid="one"))
    found = client.records.retrieve(TABLE, record_id, select=["apex_runid"])
    assert found["apex_runid"] == "one"
    client.records.update(TABLE, record_id, {"apex_phase": "new"})
    assert emulator.records()[0]["apex_phase"] == "new"
    client.records.delete(TABLE, record_id)
    assert emulator.records() == []


def test_create_multiple_returns_the_ids(client, emulator):
    ids = client.records.create(
        TABLE, [record(apex_runid=f"r-{number}") for number in range(3)]
    )
    assert {each["apex_campaignmetricsid"] for each in emulator.records()} == set(ids)


def test_list_pages(client):
    client.records.create(
        TABLE, [record(apex_runid=f"r-{number}") for number in range(7)]
    )
    pages = list(
        client.records.list_pages(
            TABLE, select=["apex_runid"], orderby=["apex_runid"], page_size=3
        )
    )
    runs = [row["apex_runid"] for page in pages for row in page]
    assert runs == [f"r-{number}" for number in range(7)]
    assert len(pages) == 3


def test_list_with_a_filter(client):
    client.records.create(TABLE, [record(apex_tokensin=number) for number in range(5)])
    rows = list(client.records.list(TABLE, filter="apex_tokensin gt 2"))
    assert sorted(row["apex_tokensin"] for row in rows) == [3, 4]


def test_tables_get(client):
    table = client.tables.get(TABLE)
    assert table["entity_set_name"] == "apex_campaignmetricses"
    assert table["primary_id_attribute"] == "apex_campaignmetricsid"
    assert client.tables.get("apex_nothing") is None


def test_batch(client, emulator):
    batch = client.batch.new()
    batch.records.create(TABLE, record(apex_runid="a"))
    batch.records.create(TABLE, record(apex_phase="x" * 17))
    batch.records.create(TABLE, record(apex_runid="b"))
    result = batch.execute(continue_on_error=True)
    assert [response.status_code for response in result.responses] == [204, 400, 204]
    assert result.responses[1].error_code == "0x80044331"
    assert {each["apex_runid"] for each in emulator.records()} == {"a", "b"}


def test_a_change_set_in_a_batch(client, emulator):
    batch = client.batch.new()
    with batch.changeset() as changes:
        reference = changes.records.create(TABLE, record(apex_runid="a"))
        changes.records.update(TABLE, reference, {"apex_phase": "later"})
    result = batch.execute()
    assert [response.status_code for response in result.responses] == [204, 204]
    assert emulator.records()[0]["apex_phase"] == "later"


def test_errors_carry_the_code_and_the_request_id(client):
    with pytest.raises(HttpError) as caught:
        client.records.create(TABLE, record(apex_phase="x" * 17))
    assert caught.value.status_code == 400
    assert caught.value.details["service_error_code"] == "0x80044331"
    assert caught.value.details["service_request_id"]


def test_throttling_is_told_as_the_sdk_expects(client, emulator):
    emulator.fault("status", status=429, code="0x80072322", retry_after=12)
    with pytest.raises(HttpError) as caught:
        client.records.create(TABLE, record())
    assert caught.value.is_transient
    assert caught.value.details["retry_after"] == 12
