"""UpsertMultiple, CreateMultiple and UpdateMultiple."""

from uuid import uuid4

import pytest

from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    api,
    campaign_metric,
)

__all__ = ["api"]

CREATE = f"{SET}/Microsoft.Dynamics.CRM.CreateMultiple"
UPDATE = f"{SET}/Microsoft.Dynamics.CRM.UpdateMultiple"


def send(api, message, targets):
    return api.post(message, json={"Targets": targets})


def test_upsert_creates_and_updates_without_telling(emulator, api):
    old, new = campaign_metric(apex_phase="old"), campaign_metric()
    send(api, UPSERT, [old])
    answer = send(api, UPSERT, [new, {**old, "apex_phase": "changed"}])
    assert (answer.status_code, answer.content) == (204, b"")
    phases = {
        record["apex_campaignmetricsid"]: record["apex_phase"]
        for record in emulator.records()
    }
    assert phases == {
        old["apex_campaignmetricsid"]: "changed",
        new["apex_campaignmetricsid"]: "2-3",
    }


def test_sending_the_same_targets_again_changes_nothing_but_versions(emulator, api):
    targets = [campaign_metric(apex_runid=f"r-{number}") for number in range(20)]
    for _ in range(2):
        assert send(api, UPSERT, targets).status_code == 204
    assert len(emulator.records()) == 20


def test_one_bad_target_rolls_back_all(emulator, api):
    targets = [campaign_metric() for _ in range(5)]
    targets[3]["apex_phase"] = "x" * 17
    answer = send(api, UPSERT, targets)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "code": "0x80044331",
        "message": "A validation error occurred.  The length of the 'apex_phase'"
        " attribute of the 'apex_campaignmetrics' entity exceeded the maximum allowed"
        " length of '16'.",
    }
    assert emulator.records() == []


def test_every_target_needs_its_type(emulator, api):
    untyped = campaign_metric()
    del untyped["@odata.type"]
    wrong = campaign_metric(**{"@odata.type": "Microsoft.Dynamics.CRM.account"})
    for target in (untyped, wrong):
        answer = send(api, UPSERT, [campaign_metric(), target])
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "0x80048d19"
    assert emulator.records() == []


def test_the_same_record_twice_in_one_request_fails(emulator, api):
    target = campaign_metric()
    upper = target | {
        "apex_campaignmetricsid": target["apex_campaignmetricsid"].upper()
    }
    answer = send(api, UPSERT, [target, upper])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80040237")
    assert emulator.records() == []


def test_the_key_may_be_in_odata_id_and_kinds_may_mix(emulator, api):
    by_body, by_address = campaign_metric(), campaign_metric()
    record_id = by_address.pop("apex_campaignmetricsid")
    by_address["@odata.id"] = f"{SET}({record_id})"
    for _ in range(2):
        assert send(api, UPSERT, [by_body, by_address]).status_code == 204
    found = {record["apex_campaignmetricsid"] for record in emulator.records()}
    assert found == {by_body["apex_campaignmetricsid"], record_id}


def test_targets_of_different_shape_travel_together(emulator, api):
    known = campaign_metric()
    send(api, UPSERT, [known])
    partial = {
        "@odata.type": known["@odata.type"],
        "apex_campaignmetricsid": known["apex_campaignmetricsid"],
        "apex_tokensin": 7,
    }
    assert send(api, UPSERT, [partial, campaign_metric()]).status_code == 204
    record = next(
        record
        for record in emulator.records()
        if record["apex_campaignmetricsid"] == known["apex_campaignmetricsid"]
    )
    assert (record["apex_tokensin"], record["apex_phase"]) == (7, "2-3")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"Targets": {}}',
        b'{"Targets": [1]}',
        b'{"Targets": [], "More": 1}',
        b"[]",
        b"not json",
        b'{"Targets": [{"apex_costusd": NaN}]}',
        b"\xff\xfe",
    ],
)
def test_a_malformed_body_is_refused(api, content):
    answer = api.post(UPSERT, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80048d19")


def test_create_multiple_answers_ids_in_order(emulator, api):
    targets = [campaign_metric(apex_runid=f"r-{number}") for number in range(3)]
    given = targets[1]["apex_campaignmetricsid"]
    del targets[0]["apex_campaignmetricsid"], targets[2]["apex_campaignmetricsid"]
    answer = send(api, CREATE, targets)
    assert answer.status_code == 200
    ids = answer.json()["Ids"]
    assert ids[1] == given
    runs = {
        record["apex_campaignmetricsid"]: record["apex_runid"]
        for record in emulator.records()
    }
    assert [runs[record_id] for record_id in ids] == ["r-0", "r-1", "r-2"]


def test_create_multiple_refuses_a_taken_id_and_writes_nothing(emulator, api):
    taken = campaign_metric()
    send(api, CREATE, [taken])
    answer = send(api, CREATE, [campaign_metric(), taken])
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "0x80040237")
    assert len(emulator.records()) == 1


def test_update_multiple_applies_the_first_of_equal_ids(emulator, api):
    target = campaign_metric()
    send(api, UPSERT, [target])
    first, second = target | {"apex_phase": "a"}, target | {"apex_phase": "b"}
    assert send(api, UPDATE, [first, second]).status_code == 204
    assert emulator.records()[0]["apex_phase"] == "a"


def test_update_multiple_creates_nothing(emulator, api):
    answer = send(api, UPDATE, [campaign_metric(apex_campaignmetricsid=str(uuid4()))])
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "0x80040217")
    keyless = campaign_metric()
    del keyless["apex_campaignmetricsid"]
    assert send(api, UPDATE, [keyless]).status_code == 400
    assert emulator.records() == []


def test_a_thousand_targets_fit(emulator, api):
    targets = [campaign_metric(apex_runid=f"r-{number}") for number in range(1000)]
    assert send(api, UPSERT, targets).status_code == 204
    assert len(emulator.records()) == 1000
    assert emulator.requests()[-1]["targets"] == 1000
