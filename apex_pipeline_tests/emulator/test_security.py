"""Application users, roles and privileges, set up through the Web API."""

from collections.abc import Iterator

import httpx
import pytest

from apex_pipeline.emulator import ServedEmulator
from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    api,
    campaign_metric,
    token,
    web_api,
)

__all__ = ["api"]

APPLICATION = "dddddddd-0000-4000-8000-000000000001"
PREFIX = "Microsoft.Dynamics.CRM."


@pytest.fixture
def business_unit(api) -> str:
    found = api.get(
        "businessunits?$select=businessunitid"
        "&$filter=_parentbusinessunitid_value eq null"
    ).json()["value"]
    return str(found[0]["businessunitid"])


@pytest.fixture
def role(api, business_unit) -> str:
    created = api.post(
        "roles",
        json={
            "name": "Apex Metrics Sync",
            "businessunitid@odata.bind": f"/businessunits({business_unit})",
        },
    )
    assert created.status_code == 204
    return entity_id(created)


@pytest.fixture
def user(emulator, api, business_unit) -> str:
    emulator.register(APPLICATION, client_secret="s", user=False)
    created = api.post(
        "systemusers",
        json={
            "applicationid": APPLICATION,
            "businessunitid@odata.bind": f"/businessunits({business_unit})",
        },
    )
    assert created.status_code == 204
    return entity_id(created)


@pytest.fixture
def sync(emulator: ServedEmulator, user) -> Iterator[httpx.Client]:
    bearer = token(emulator, credential="s", client_id=APPLICATION)
    with web_api(emulator, bearer) as client:
        yield client


def entity_id(answer: httpx.Response) -> str:
    return answer.headers["OData-EntityId"].rpartition("(")[2].rstrip(")")


def privilege(api, name) -> str:
    found = api.get(
        f"privileges?$select=privilegeid,name&$filter=name eq '{name}'"
    ).json()["value"]
    return str(found[0]["privilegeid"])


def grant(api, role, *names, depth="Global"):
    listed = [{"PrivilegeId": privilege(api, name), "Depth": depth} for name in names]
    url = f"roles({role})/{PREFIX}AddPrivilegesRole"
    answer = api.post(url, json={"Privileges": listed})
    assert answer.status_code == 204, answer.text


def assign(emulator, api, user, role):
    return api.post(
        f"systemusers({user})/systemuserroles_association/$ref",
        json={"@odata.id": f"{emulator.api}/roles({role})"},
    )


def held(api, role) -> dict[str, str]:
    found = api.get(f"RetrieveRolePrivilegesRole(RoleId={role})").json()
    return {each["PrivilegeName"]: each["Depth"] for each in found["RolePrivileges"]}


def test_a_least_privilege_role_does_what_it_says(emulator, api, user, role, sync):
    assert sync.get(SET).json()["error"]["code"] == "0x80048306"
    assert "roleCount=0" in sync.get(SET).json()["error"]["message"]
    stem = "apex_CampaignMetrics"
    grant(api, role, f"prvCreate{stem}", f"prvRead{stem}", f"prvWrite{stem}")
    assert assign(emulator, api, user, role).status_code == 204
    target = campaign_metric()
    for _ in range(2):
        assert sync.post(UPSERT, json={"Targets": [target]}).status_code == 204
    record = f"{SET}({target['apex_campaignmetricsid']})"
    assert sync.get(record).status_code == 200
    refused = sync.delete(record)
    assert refused.status_code == 403
    assert f"missing prvDelete{stem} privilege" in refused.json()["error"]["message"]
    assert sync.get("EntityDefinitions").status_code == 403
    grant(api, role, "prvReadEntity")
    assert sync.get("EntityDefinitions").status_code == 200


def test_creating_and_updating_are_told_apart(emulator, api, user, role, sync):
    stem = "apex_CampaignMetrics"
    grant(api, role, f"prvCreate{stem}", f"prvRead{stem}")
    assign(emulator, api, user, role)
    target = campaign_metric()
    assert sync.post(UPSERT, json={"Targets": [target]}).status_code == 204
    refused = sync.post(UPSERT, json={"Targets": [campaign_metric(), target]})
    assert f"prvWrite{stem}" in refused.json()["error"]["message"]
    assert len(emulator.records()) == 1


def test_a_role_taken_away_takes_effect_at_once(emulator, api, user, role, sync):
    grant(api, role, "prvReadapex_CampaignMetrics")
    assign(emulator, api, user, role)
    assert sync.get(SET).status_code == 200
    taken = api.delete(f"systemusers({user})/systemuserroles_association({role})/$ref")
    assert taken.status_code == 204
    assert sync.get(SET).status_code == 403


def test_a_role_is_assigned_once(emulator, api, user, role):
    assert assign(emulator, api, user, role).status_code == 204
    again = assign(emulator, api, user, role)
    assert again.status_code == 412
    assert again.json()["error"]["message"] == "Cannot insert duplicate key."


def test_who_has_which_role_can_be_asked(emulator, api, user, role):
    assign(emulator, api, user, role)
    path = f"systemusers({user})/systemuserroles_association?$select=name"
    assert [each["name"] for each in api.get(path).json()["value"]] == [
        "Apex Metrics Sync"
    ]
    expanded = api.get(
        f"systemusers?$select=systemuserid&$filter=applicationid eq {APPLICATION}"
        "&$expand=systemuserroles_association($select=roleid,name)"
    ).json()["value"][0]
    assert [each["roleid"] for each in expanded["systemuserroles_association"]] == [
        role
    ]


def test_a_new_role_holds_privileges_that_nobody_asked_for(api, role):
    assert set(held(api, role)) == {
        "prvReadSharePointData",
        "prvReadSharePointDocument",
        "prvCreateSharePointData",
        "prvWriteSharePointData",
    }


def test_depths_may_be_numbers_and_must_exist(api, role):
    grant(api, role, "prvReadEntity", depth="3")
    assert held(api, role)["prvReadEntity"] == "Global"
    wrong = {"PrivilegeId": privilege(api, "prvReadEntity"), "Depth": "Bottomless"}
    answer = api.post(
        f"roles({role})/{PREFIX}AddPrivilegesRole", json={"Privileges": [wrong]}
    )
    assert answer.status_code == 400
    unknown = {"PrivilegeId": APPLICATION, "Depth": "Global"}
    answer = api.post(
        f"roles({role})/{PREFIX}AddPrivilegesRole", json={"Privileges": [unknown]}
    )
    assert answer.status_code == 404


def test_a_user_may_ask_for_its_own_privileges(emulator, api, user, role, sync):
    grant(api, role, "prvReadapex_CampaignMetrics")
    assign(emulator, api, user, role)
    own = sync.get(f"systemusers({user})/{PREFIX}RetrieveUserPrivileges").json()
    names = {each["PrivilegeName"] for each in own["RolePrivileges"]}
    assert "prvReadapex_CampaignMetrics" in names
    administrator = api.get("WhoAmI").json()["UserId"]
    other = sync.get(f"systemusers({administrator})/{PREFIX}RetrieveUserPrivileges()")
    assert other.status_code == 403


def test_an_application_has_one_user(api, user, business_unit):
    again = api.post(
        "systemusers",
        json={
            "applicationid": APPLICATION,
            "businessunitid@odata.bind": f"/businessunits({business_unit})",
        },
    )
    assert again.json()["error"]["code"] == "0x8004f511"


def test_a_user_needs_a_business_unit(api):
    answer = api.post("systemusers", json={"applicationid": APPLICATION})
    assert answer.json()["error"]["code"] == "0x80040200"


def test_a_user_can_be_disabled(api, user, sync):
    api.patch(f"systemusers({user})", json={"isdisabled": True})
    assert sync.get("WhoAmI").json()["error"]["code"] == "0x80040225"


def test_the_tables_own_privileges_are_those_that_are_granted(api):
    found = api.get(
        "EntityDefinitions(LogicalName='apex_campaignmetrics')?$select=Privileges"
    ).json()["Privileges"]
    for each in found:
        assert privilege(api, each["Name"]) == each["PrivilegeId"]


def test_without_administrators_privileges_nothing_is_customized(emulator, sync):
    for path in ("EntityDefinitions", "PublishXml", "roles", "systemusers"):
        assert sync.post(path, json={}).status_code in {400, 403}
    refused = sync.post(
        "EntityDefinitions(LogicalName='apex_campaignmetrics')/Keys",
        json={"SchemaName": "apex_K", "KeyAttributes": ["apex_runid"]},
    )
    assert refused.status_code == 403
