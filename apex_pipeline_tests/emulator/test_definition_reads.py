"""EntityDefinitions: reading."""

import pytest

from apex_pipeline_tests.support.emulator_server import api

__all__ = ["api"]

DEFINITION = "EntityDefinitions(LogicalName='apex_campaignmetrics')"
COLUMNS = [
    "apex_campaignid",
    "apex_runid",
    "apex_phase",
    "apex_agentstotal",
    "apex_agentssuccessful",
    "apex_assetsgenerated",
    "apex_tokensin",
    "apex_tokensout",
    "apex_costusd",
    "apex_latencyp95ms",
    "apex_latencyavgms",
    "apex_successrate",
    "apex_createdat",
]


def test_the_table_is_there_from_the_start(api):
    found = api.get(DEFINITION).json()
    assert found["EntitySetName"] == "apex_campaignmetricses"
    assert found["PrimaryIdAttribute"] == "apex_campaignmetricsid"
    assert found["PrimaryNameAttribute"] == "apex_runid"
    assert found["OwnershipType"] == "OrganizationOwned"
    assert found["ChangeTrackingEnabled"] is True
    assert found["IsAuditEnabled"]["Value"] is True
    assert "Attributes" not in found


def test_columns_come_in_order(api):
    found = api.get(
        f"{DEFINITION}/Attributes?$select=LogicalName,AttributeType"
        "&$filter=IsCustomAttribute eq true"
    ).json()["value"]
    names = [column["LogicalName"] for column in found]
    assert names == COLUMNS
    kinds = {column["LogicalName"]: column["AttributeType"] for column in found}
    assert kinds["apex_costusd"] == "Decimal"
    assert kinds["apex_createdat"] == "DateTime"
    assert kinds["apex_tokensin"] == "Integer"


@pytest.mark.parametrize(
    ("cast", "select", "column", "expected"),
    [
        ("String", "MaxLength", "apex_phase", {"MaxLength": 16}),
        (
            "Integer",
            "MinValue,MaxValue",
            "apex_tokensin",
            {"MinValue": -(2**31), "MaxValue": 2**31 - 1},
        ),
        (
            "Decimal",
            "MinValue,MaxValue,Precision",
            "apex_costusd",
            {"MinValue": -(10**11), "MaxValue": 10**11, "Precision": 5},
        ),
        (
            "DateTime",
            "Format,DateTimeBehavior",
            "apex_createdat",
            {"Format": "DateAndTime", "DateTimeBehavior": {"Value": "UserLocal"}},
        ),
    ],
)
def test_a_cast_shows_what_the_type_has(api, cast, select, column, expected):
    path = f"{DEFINITION}/Attributes/Microsoft.Dynamics.CRM.{cast}AttributeMetadata"
    found = api.get(f"{path}?$select=LogicalName,{select}").json()["value"]
    shown = next(each for each in found if each["LogicalName"] == column)
    assert {name: shown[name] for name in expected} == expected
    single = api.get(
        f"{DEFINITION}/Attributes(LogicalName='{column}')"
        f"/Microsoft.Dynamics.CRM.{cast}AttributeMetadata?$select={select}"
    ).json()
    assert {name: single[name] for name in expected} == expected


def test_without_a_cast_typed_properties_are_unknown(api):
    for path in ("Attributes", "Attributes(LogicalName='apex_phase')"):
        answer = api.get(f"{DEFINITION}/{path}?$select=MaxLength")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "0x80060888"


def test_expand_shows_columns_keys_and_privileges(api):
    found = api.get(
        f"{DEFINITION}?$select=LogicalName,Privileges&$expand=Attributes($select="
        "LogicalName,AttributeType,RequiredLevel),Keys($select=SchemaName,"
        "KeyAttributes,EntityKeyIndexStatus)"
    ).json()
    assert set(COLUMNS) <= {each["LogicalName"] for each in found["Attributes"]}
    assert found["Keys"] == []
    assert {each["Name"] for each in found["Privileges"]} == {
        f"prv{kind}apex_CampaignMetrics"
        for kind in ("Create", "Read", "Write", "Delete", "Append", "AppendTo")
    }


def test_definitions_can_be_filtered(api):
    path = "EntityDefinitions?$select=LogicalName,EntitySetName&$filter="
    found = api.get(f"{path}LogicalName eq 'apex_campaignmetrics'").json()["value"]
    assert [each["EntitySetName"] for each in found] == ["apex_campaignmetricses"]
    assert api.get(f"{path}LogicalName eq 'apex_nothing'").json()["value"] == []


def test_a_definition_can_be_asked_by_its_id(api):
    by_name = api.get(f"{DEFINITION}?$select=LogicalName").json()
    by_id = api.get(f"EntityDefinitions({by_name['MetadataId']})?$select=LogicalName")
    assert by_id.json() == by_name


@pytest.mark.parametrize(
    "path",
    [
        "EntityDefinitions(LogicalName='apex_nothing')",
        "EntityDefinitions(00000000-0000-0000-0000-000000000001)",
        f"{DEFINITION}/Attributes(LogicalName='apex_nothing')",
    ],
)
def test_what_is_not_defined_is_not_found(api, path):
    assert api.get(path).status_code == 404


@pytest.mark.parametrize(
    "path", [f"{DEFINITION}/Nonsense", "EntityDefinitions(LogicalName='lead')"]
)
def test_what_the_service_may_define_is_not_emulated(api, path):
    assert api.get(path).status_code == 501


def test_the_service_document_lists_entity_sets(api):
    sets = [each["name"] for each in api.get("").json()["value"]]
    assert "apex_campaignmetricses" in sets
