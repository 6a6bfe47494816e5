"""Alternate keys: their index, their URLs, upserts by them."""

from urllib.parse import quote

import pytest

from apex_pipeline_tests.support.emulator_server import (
    SET,
    TYPE,
    UPSERT,
    Dial,
    api,
    campaign_metric,
    dial,
    timed_emulator,
    web_api,
)

__all__ = ["api", "dial", "timed_emulator"]

KEYS = "EntityDefinitions(LogicalName='apex_campaignmetrics')/Keys"
COLUMNS = ["apex_campaignid", "apex_runid", "apex_phase"]
KEY = "apex_campaignid='c-001',apex_runid='r-001',apex_phase='2-3'"
BY_KEY = f"{SET}({KEY})"


def create_key(client, columns=COLUMNS, name="apex_CampaignRunPhase"):
    return client.post(KEYS, json={"SchemaName": name, "KeyAttributes": columns})


@pytest.fixture
def keyed(api):
    assert create_key(api).status_code == 204
    return api


def fields(**overrides):
    """What a record holds beside its key."""
    filled = campaign_metric(**overrides)
    for name in ("@odata.type", "apex_campaignmetricsid", *COLUMNS):
        del filled[name]
    return filled


def target(key=KEY, **overrides):
    return {"@odata.type": TYPE, "@odata.id": f"{SET}({key})", **fields(**overrides)}


def test_an_index_is_pending_then_in_progress_then_active(timed_emulator, dial: Dial):
    with web_api(timed_emulator) as client:
        created = create_key(client)
        assert created.headers["OData-EntityId"].startswith(
            f"{timed_emulator.api}/{KEYS}("
        )
        path = f"{KEYS}(LogicalName='apex_campaignrunphase')"

        def status():
            return client.get(path).json()["EntityKeyIndexStatus"]

        found = client.get(path).json()
        assert found["EntityKeyIndexStatus"] == "Pending"
        assert found["KeyAttributes"] == COLUMNS
        assert not any(name.startswith("_") for name in found)
        refused = client.patch(BY_KEY, json=fields())
        assert refused.status_code == 400
        dial.now += 31
        assert status() == "InProgress"
        dial.now += 31
        assert status() == "Active"
        assert client.patch(BY_KEY, json=fields()).status_code == 204


def test_an_index_over_duplicates_fails(emulator, api):
    api.post(UPSERT, json={"Targets": [campaign_metric(), campaign_metric()]})
    create_key(api)
    found = api.get(KEYS).json()["value"]
    assert [key["EntityKeyIndexStatus"] for key in found] == ["Failed"]
    assert api.get(BY_KEY).status_code == 400


def test_patch_by_key_creates_with_the_key_and_echoes_it(emulator, keyed):
    for number in (1, 2):
        answer = keyed.patch(BY_KEY, json=fields(apex_tokensin=number))
        assert answer.status_code == 204
        assert answer.headers["OData-EntityId"] == f"{emulator.api}/{BY_KEY}"
    (record,) = emulator.records()
    assert [record[name] for name in COLUMNS] == ["c-001", "r-001", "2-3"]
    assert record["apex_tokensin"] == 2


def test_key_columns_in_the_body_win_on_create_and_are_dropped_on_update(
    emulator, keyed
):
    keyed.patch(BY_KEY, json={**fields(), "apex_phase": "body"})
    assert emulator.records()[0]["apex_phase"] == "body"
    keyed.patch(BY_KEY, json=fields())
    keyed.patch(BY_KEY, json={**fields(), "apex_phase": "ignored"})
    assert {record["apex_phase"] for record in emulator.records()} == {"body", "2-3"}


def test_keys_ignore_case(emulator, keyed):
    keyed.patch(BY_KEY, json=fields())
    keyed.patch(BY_KEY.replace("c-001", "C-001"), json=fields(apex_tokensin=9))
    (record,) = emulator.records()
    assert (record["apex_tokensin"], record["apex_campaignid"]) == (9, "c-001")


def test_quotes_are_doubled(emulator, keyed):
    key = KEY.replace("r-001", "O''Neil")
    assert keyed.patch(f"{SET}({key})", json=fields()).status_code == 204
    assert emulator.records()[0]["apex_runid"] == "O'Neil"


@pytest.mark.parametrize("character", list("/<>*%&:\\?+"))
def test_some_characters_do_not_work_in_a_key(emulator, keyed, character):
    key = KEY.replace("r-001", quote(f"a{character}b", safe=""))
    assert keyed.patch(f"{SET}({key})", json=fields()).status_code == 400
    bulk = target(KEY.replace("r-001", f"a{character}b"))
    assert keyed.post(UPSERT, json={"Targets": [bulk]}).status_code == 400
    assert emulator.records() == []


@pytest.mark.parametrize(
    "key",
    [
        "apex_campaignid='c-001'",
        "apex_campaignid='c',apex_runid='r',apex_phase='p',apex_tokensin=1",
        "apex_campaignid=5,apex_runid='r',apex_phase='p'",
    ],
)
def test_part_of_a_key_is_no_key(keyed, key):
    answer = keyed.get(f"{SET}({key})")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(
        "The key in the request URI is not valid for resource"
        " 'Microsoft.Dynamics.CRM.apex_campaignmetrics'."
    )


def test_a_key_that_nothing_carries_is_not_found(keyed):
    answer = keyed.get(BY_KEY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "0x80060891")
    only = keyed.patch(BY_KEY, json=fields(), headers={"If-Match": "*"})
    assert only.status_code == 404


def test_a_violated_key_names_its_columns(emulator, keyed):
    keyed.patch(BY_KEY, json=fields())
    taken = campaign_metric()
    answer = keyed.post(
        UPSERT,
        json={"Targets": [campaign_metric(apex_runid="other"), taken]},
        headers={"Prefer": 'odata.include-annotations="*"'},
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (412, "0x80060892")
    assert error["message"].startswith("Entity Key apex_campaignrunphase violated.")
    attributes = error["@Microsoft.PowerApps.CDS.ErrorDetails.DuplicateAttributes"]
    assert "<apex_runid>r-001</apex_runid>" in attributes
    assert len(emulator.records()) == 1


def test_upsert_multiple_by_key(emulator, keyed):
    for number in (1, 2):
        targets = [
            target(KEY.replace("r-001", f"r-{n}"), apex_tokensin=number)
            for n in range(3)
        ]
        assert keyed.post(UPSERT, json={"Targets": targets}).status_code == 204
    found = {
        record["apex_runid"]: record["apex_tokensin"] for record in emulator.records()
    }
    assert found == {"r-0": 2, "r-1": 2, "r-2": 2}


def test_key_columns_repeated_in_a_target_fail_on_create_only(emulator, keyed):
    repeated = target() | {"apex_runid": "r-001"}
    refused = keyed.post(UPSERT, json={"Targets": [repeated]})
    assert refused.json()["error"] == {
        "code": "0x80040216",
        "message": "An unexpected error occurred.",
    }
    keyed.post(UPSERT, json={"Targets": [target()]})
    assert keyed.post(UPSERT, json={"Targets": [repeated]}).status_code == 204


def test_the_same_record_by_key_and_by_id_is_twice_the_same(emulator, keyed):
    keyed.patch(BY_KEY, json=fields())
    record_id = emulator.records()[0]["apex_campaignmetricsid"]
    by_id = {"@odata.type": TYPE, "apex_campaignmetricsid": record_id}
    answer = keyed.post(UPSERT, json={"Targets": [target(), by_id]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80040237")
    twice = keyed.post(
        UPSERT, json={"Targets": [target(), target(KEY.upper().lower())]}
    )
    assert twice.status_code == 400


@pytest.mark.parametrize(
    "columns",
    [
        ["apex_nothing"],
        [],
        ["apex_campaignid"] * 2 + ["createdby"] * 15,
        ["apex_isbig"],
    ],
)
def test_a_key_that_cannot_be_is_refused(api, columns):
    assert create_key(api, columns).status_code == 400


def test_a_key_longer_than_900_bytes_is_refused(api):
    wide = {
        "@odata.type": "Microsoft.Dynamics.CRM.StringAttributeMetadata",
        "SchemaName": "apex_Wide",
        "MaxLength": 451,
    }
    path = "EntityDefinitions(LogicalName='apex_campaignmetrics')/Attributes"
    assert api.post(path, json=wide).status_code == 204
    answer = create_key(api, ["apex_wide"])
    assert answer.status_code == 400
    assert "902 bytes" in answer.json()["error"]["message"]


def test_the_same_key_cannot_be_made_twice_and_can_be_deleted(keyed):
    assert create_key(keyed).status_code == 400
    assert create_key(keyed, name="apex_Other").status_code == 400
    (key,) = keyed.get(KEYS).json()["value"]
    assert keyed.delete(f"{KEYS}({key['MetadataId']})").status_code == 204
    assert keyed.get(BY_KEY).status_code == 400
    assert create_key(keyed).status_code == 204
