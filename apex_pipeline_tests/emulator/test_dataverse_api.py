"""dataverse-api, a Python client that knows nothing of the emulator, against it."""

from collections.abc import Iterator

import pytest
import requests
from dataverse_api import DataverseClient
from dataverse_api.errors import DataverseAPIError
from dataverse_api.metadata.attributes import (
    LookupAttributeMetadata,
    StringAttributeMetadata,
)
from dataverse_api.metadata.entity import define_entity
from dataverse_api.metadata.enums import OwnershipType
from dataverse_api.metadata.relationships import define_relationship
from dataverse_api.utils.labels import define_label

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.emulator_server import campaign_metric, token

TABLE = "apex_campaignmetrics"
KEY = "apex_campaignmetricsid"


@pytest.fixture
def client(
    emulator: ServedEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DataverseClient]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emulator.ca_bundle))
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token(emulator)}"
        yield DataverseClient(session, f"{emulator.url}/")


def record(**overrides):
    filled = campaign_metric(**overrides)
    del filled["@odata.type"], filled[KEY]
    return filled


def test_it_learns_what_a_table_is(client):
    entity = client.entity(TABLE)
    assert entity.entity_set_name == "apex_campaignmetricses"
    assert entity.primary_id_attr == KEY
    assert entity.primary_img_attr is None
    assert entity.supports_create_multiple
    assert entity.supports_update_multiple
    assert {"createdby", "organizationid"} <= set(entity.relationships.single_valued)
    assert client.get_language_codes() == [1033]


@pytest.mark.parametrize("mode", ["individual", "batch", "multiple"])
def test_records_are_created_and_read(client, mode):
    entity = client.entity(TABLE)
    rows = [record(apex_runid=f"r-{number}") for number in range(3)]
    entity.create(rows, mode=mode)
    found = entity.read(
        select=["apex_runid"],
        filter="apex_runid ne 'r-1'",
        order_by="apex_runid desc",
        page_size=1,
        return_formatted_values=True,
    )
    assert [each["apex_runid"] for each in found] == ["r-2", "r-0"]


def test_records_are_changed_emptied_and_deleted(client, emulator):
    entity = client.entity(TABLE)
    entity.create([record(apex_runid="a")])
    (made,) = emulator.records()
    for mode in ("individual", "batch"):
        entity.upsert([{KEY: made[KEY], "apex_phase": mode}], mode=mode)
        assert emulator.records()[0]["apex_phase"] == mode
    entity.delete_columns(filter="apex_runid eq 'a'", columns=["apex_phase"])
    assert emulator.records()[0]["apex_phase"] is None
    entity.delete(filter="apex_runid eq 'a'")
    assert emulator.records() == []


def test_tables_and_relationships_are_made(client):
    name = StringAttributeMetadata(schema_name="apex_Name", is_primary_name=True)
    client.create_entity(
        define_entity("apex_Place", [name], ownership_type=OwnershipType.USER_OWNED)
    )
    lookup = LookupAttributeMetadata(schema_name="apex_Place")
    client.create_relationship(
        define_relationship("apex_place_metrics", TABLE, "apex_place", lookup=lookup)
    )
    found = client.get_relationship_definition("apex_place_metrics")
    assert found.referenced_entity == "apex_place"
    assert "apex_Place" in client.entity(TABLE).relationships.single_valued
    related = client.entity("apex_place").relationships.collection_valued
    assert "apex_place_metrics" in related
    definition = client.get_entity_definition("apex_place")
    definition.display_name = define_label("Places")
    client.update_entity(definition, preserve_localized_labels=True)
    client.delete_entity("apex_place")
    with pytest.raises(DataverseAPIError, match="apex_place"):
        client.entity("apex_place")
