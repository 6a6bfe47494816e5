"""Microsoft's own Python SDK, which knows nothing of the emulator, against it."""

import enum

import pandas as pd
import pytest
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError
from PowerPlatform.Dataverse.models import col
from PowerPlatform.Dataverse.models.upsert import UpsertItem

from apex_pipeline_tests.support.emulator_server import campaign_metric
from apex_pipeline_tests.support.sdk_client import client

__all__ = ["client"]

TABLE = "apex_campaignmetrics"


class Color(enum.IntEnum):
    """Options of a choice column."""

    RED = 1
    BLUE = 2


COLUMNS = {
    "apex_Price": "decimal",
    "apex_Count": "int",
    "apex_Rate": "float",
    "apex_Active": "bool",
    "apex_When": "datetime",
    "apex_Note": "memo",
    "apex_Color": Color,
}


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


def test_update_and_delete_many(client, emulator):
    ids = client.records.create(TABLE, [record() for _ in range(3)])
    client.records.update(TABLE, ids, {"apex_phase": "all"})
    assert {each["apex_phase"] for each in emulator.records()} == {"all"}
    client.records.update(TABLE, ids, [{"apex_phase": each[:16]} for each in ids])
    assert {each["apex_phase"] for each in emulator.records()} == {
        each[:16] for each in ids
    }
    assert client.records.delete(TABLE, ids)
    assert emulator.records() == []


def test_query_builder(client):
    client.records.create(
        TABLE,
        [
            record(apex_runid=f"r-{number}", apex_tokensin=number, apex_phase=phase)
            for number, phase in enumerate(["a", "b", "a", None, "c"])
        ],
    )

    def runs(expression):
        found = (
            client.query.builder(TABLE)
            .select("apex_runid")
            .where(expression)
            .order_by("apex_tokensin", descending=True)
            .execute()
        )
        return [row["apex_runid"] for row in found]

    assert runs((col("apex_phase") == "a") | (col("apex_tokensin") > 3)) == [
        "r-4",
        "r-2",
        "r-0",
    ]
    assert runs(col("apex_phase").in_(["b", "c"])) == ["r-4", "r-1"]
    assert runs(col("apex_tokensin").between(1, 3)) == ["r-3", "r-2", "r-1"]
    assert runs(~(col("apex_phase") == "a")) == ["r-4", "r-3", "r-1"]
    assert runs(col("apex_runid").like("r-%")) == ["r-4", "r-3", "r-2", "r-1", "r-0"]
    assert runs(col("apex_phase").is_null()) == ["r-3"]


def test_query_builder_pages_and_counts(client):
    client.records.create(TABLE, [record(apex_tokensin=each) for each in range(5)])
    query = client.query.builder(TABLE).select("apex_tokensin").page_size(2).count()
    assert [len(list(page)) for page in query.execute_pages()] == [2, 2, 1]
    frame = client.query.builder(TABLE).select("apex_tokensin").execute().to_dataframe()
    assert sorted(frame["apex_tokensin"]) == [0, 1, 2, 3, 4]


def test_formatted_values(client):
    client.records.create(TABLE, record(apex_tokensin=12345))
    (row,) = (
        client.query.builder(TABLE)
        .select("apex_tokensin", "statecode")
        .include_formatted_values()
        .execute()
    )
    shown = "OData.Community.Display.V1.FormattedValue"
    assert row[f"apex_tokensin@{shown}"] == "12,345"
    assert row[f"statecode@{shown}"] == "Active"


def test_tables_and_columns(client, emulator):
    made = client.tables.create("apex_Product", COLUMNS)
    assert made["entity_set_name"] == "apex_products"
    assert client.tables.get("apex_Product")["metadata_id"] == made["metadata_id"]
    names = {each["LogicalName"] for each in client.tables.list()}
    assert {"apex_product", TABLE} <= names
    with pytest.raises(MetadataError, match="already exists"):
        client.tables.create("apex_Product", COLUMNS)
    client.tables.add_columns("apex_Product", {"apex_Extra": "string"})
    client.tables.update_column("apex_Product", "apex_Extra", {"max_length": 400})
    typed = client.tables.get_column("apex_Product", "apex_Extra", typed=True)
    assert typed["MaxLength"] == 400
    listed = {
        each["LogicalName"] for each in client.tables.list_columns("apex_Product")
    }
    assert "apex_extra" in listed
    client.tables.remove_columns("apex_Product", "apex_Extra")
    assert client.tables.get_column("apex_Product", "apex_Extra") is None
    client.tables.delete("apex_Product")
    assert client.tables.get("apex_Product") is None


def test_every_type_of_column_comes_back(client):
    client.tables.create("apex_Product", COLUMNS)
    record_id = client.records.create(
        "apex_Product",
        {
            "apex_name": "a",
            "apex_price": 1.25,
            "apex_count": 3,
            "apex_rate": 0.12345,
            "apex_active": True,
            "apex_when": "2025-10-30",
            "apex_note": "line\nline",
            "apex_color": "BLUE",
        },
    )
    found = client.records.retrieve("apex_Product", record_id)
    assert found["apex_price"] == 1.25
    assert found["apex_count"] == 3
    assert found["apex_rate"] == 0.12345
    assert found["apex_active"] is True
    assert found["apex_when"] == "2025-10-30T00:00:00Z"
    assert found["apex_note"] == "line\nline"
    assert found["apex_color"] == 2
    with pytest.raises(HttpError, match="Accepted Values: 1,2"):
        client.records.update("apex_Product", record_id, {"apex_color": 3})


@pytest.fixture
def key(client):
    return client.tables.create_alternate_key(
        TABLE, "apex_RunKey", ["apex_campaignid", "apex_runid"]
    )


def test_alternate_keys(client, key):
    (found,) = client.tables.get_alternate_keys(TABLE)
    assert found.metadata_id == key.metadata_id
    assert found.status == "Active"
    assert found.key_attributes == ["apex_campaignid", "apex_runid"]
    client.tables.delete_alternate_key(TABLE, key.metadata_id)
    assert client.tables.get_alternate_keys(TABLE) == []


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("count", [1, 5])
def test_upsert_by_alternate_key(client, emulator, count):
    for phase in ("old", "new"):
        client.records.upsert(
            TABLE,
            [
                UpsertItem(
                    alternate_key={"apex_campaignid": "c", "apex_runid": f"r-{number}"},
                    record={"apex_phase": phase, "apex_tokensin": number},
                )
                for number in range(count)
            ],
        )
    found = {each["apex_runid"]: each["apex_phase"] for each in emulator.records()}
    assert found == {f"r-{number}": "new" for number in range(count)}


@pytest.mark.usefixtures("key")
def test_a_batch_of_everything(client, emulator):
    record_id = client.records.create(TABLE, record(apex_runid="first"))
    batch = client.batch.new()
    batch.records.create(TABLE, [record(apex_runid="a"), record(apex_runid="b")])
    batch.records.update(TABLE, record_id, {"apex_phase": "new"})
    batch.records.upsert(
        TABLE,
        [
            UpsertItem({"apex_campaignid": "c", "apex_runid": run}, {"apex_phase": "u"})
            for run in ("x", "y")
        ],
    )
    batch.records.retrieve(TABLE, record_id, select=["apex_phase"])
    batch.records.list(TABLE, select=["apex_runid"], filter="apex_phase eq 'u'")
    batch.tables.get(TABLE)
    batch.records.delete(TABLE, record_id)
    result = batch.execute()
    assert not result.has_errors
    statuses = [response.status_code for response in result.responses]
    assert statuses == [200, 204, 204, 200, 200, 200, 204]
    assert result.responses[3].data["apex_phase"] == "new"
    assert {each["apex_runid"] for each in emulator.records()} == {"a", "b", "x", "y"}


def test_dataframes(client, emulator):
    frame = pd.DataFrame([record(apex_runid=f"r-{number}") for number in range(3)])
    frame["apex_campaignmetricsid"] = client.dataframe.create(TABLE, frame)
    frame["apex_phase"] = ["x", "y", "z"]
    client.dataframe.update(TABLE, frame, id_column="apex_campaignmetricsid")
    phases = {each["apex_runid"]: each["apex_phase"] for each in emulator.records()}
    assert phases == {"r-0": "x", "r-1": "y", "r-2": "z"}
    client.dataframe.delete(TABLE, frame["apex_campaignmetricsid"])
    assert emulator.records() == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.query.sql(f"SELECT apex_runid FROM {TABLE}"),
        lambda client: list(
            client.query.fetchxml(
                f"<fetch><entity name='{TABLE}'><all-attributes/></entity></fetch>"
            ).execute()
        ),
        lambda client: client.files.upload(
            TABLE, client.records.create(TABLE, record()), "apex_file", __file__
        ),
    ],
    ids=["sql", "fetchxml", "file"],
)
def test_what_is_not_emulated_answers_501(client, ask):
    with pytest.raises(HttpError) as caught:
        ask(client)
    assert caught.value.status_code == 501
    assert "The emulator does not do this" in caught.value.message


def test_a_lookup_is_made_filled_and_removed(client, emulator):
    """The names are the SDK's; "Create and update table relationships"."""
    client.tables.create("apex_Agent", {"apex_Note": "memo"})
    made = client.tables.create_lookup_field(
        referencing_table=TABLE,
        lookup_field_name="apex_AgentId",
        referenced_table="apex_agent",
        display_name="Agent",
    )
    name = made.relationship_schema_name
    found = client.tables.get_relationship(name)
    assert found.referenced_entity == "apex_agent"
    assert found.relationship_id == made.relationship_id
    agent = client.records.create("apex_agent", {"apex_note": "best"})
    client.records.create(
        TABLE, record() | {"apex_AgentId@odata.bind": f"/apex_agents({agent})"}
    )
    assert emulator.records()[0]["_apex_agentid_value"] == agent
    (row,) = client.records.list(
        TABLE, filter="apex_AgentId/apex_note eq 'best'", expand=["apex_AgentId"]
    )
    assert row["apex_AgentId"]["apex_note"] == "best"
    listed = client.tables.list_table_relationships(TABLE)
    assert name in {each["SchemaName"] for each in listed}
    client.tables.delete_relationship(made.relationship_id)
    assert client.tables.get_relationship(name) is None
    assert "_apex_agentid_value" not in emulator.records()[0]
