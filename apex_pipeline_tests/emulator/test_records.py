"""Single records: create, read, conditional writes, delete."""

from uuid import uuid4

import pytest

from apex_pipeline_tests.support.emulator_server import SET, api, campaign_metric

__all__ = ["api"]

ID = "6fa459ea-ee8a-4ca4-894e-db77e160355e"
RECORD = f"{SET}({ID})"


def body(**overrides):
    filled = campaign_metric(**overrides)
    del filled["@odata.type"], filled["apex_campaignmetricsid"]
    return filled


def test_patch_creates_then_updates_and_cannot_be_told_apart(emulator, api):
    answers = [api.patch(RECORD, json=body(apex_tokensin=n)) for n in (1, 2)]
    for answer in answers:
        assert answer.status_code == 204
        assert answer.content == b""
        assert answer.headers["OData-EntityId"] == f"{emulator.api}/{RECORD}"
    (record,) = emulator.records()
    assert record["apex_campaignmetricsid"] == ID
    assert record["apex_tokensin"] == 2


def test_patch_leaves_columns_alone_that_it_does_not_name(emulator, api):
    api.patch(RECORD, json=body())
    api.patch(RECORD, json={"apex_tokensin": None})
    (record,) = emulator.records()
    assert record["apex_tokensin"] is None
    assert record["apex_tokensout"] == 3000


def test_return_representation_tells_created_from_updated(emulator, api):
    answers = [
        api.patch(
            f"{RECORD}?$select=apex_runid",
            json=body(),
            headers={"Prefer": "return=representation"},
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]
    for answer in answers:
        assert answer.headers["Preference-Applied"] == "return=representation"
        found = answer.json()
        assert found["@odata.context"] == (
            f"{emulator.api}/$metadata#{SET}(apex_runid)/$entity"
        )
        assert found["@odata.etag"] == answer.headers["ETag"]
        assert found["apex_campaignmetricsid"] == ID
        assert "apex_phase" not in found


def test_if_match_any_updates_only(emulator, api):
    missing = api.patch(RECORD, json=body(), headers={"If-Match": "*"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "0x80040217")
    assert missing.json()["error"]["message"].endswith(f"{ID} Does Not Exist")
    assert emulator.records() == []
    api.patch(RECORD, json=body())
    assert api.patch(RECORD, json=body(), headers={"If-Match": "*"}).status_code == 204


def test_if_none_match_any_creates_only(emulator, api):
    header = {"If-None-Match": "*"}
    assert api.patch(RECORD, json=body(), headers=header).status_code == 204
    again = api.patch(RECORD, json=body(apex_phase="other"), headers=header)
    assert again.status_code == 412
    assert again.json()["error"] == {
        "code": "0x80040237",
        "message": "A record with matching key values already exists.",
    }
    assert emulator.records()[0]["apex_phase"] == "2-3"


def test_if_none_match_null_is_no_condition(api):
    header = {"If-None-Match": "null"}
    for _ in range(2):
        assert api.patch(RECORD, json=body(), headers=header).status_code == 204


def test_a_stale_version_is_refused(emulator, api):
    api.patch(RECORD, json=body())
    stale = api.get(RECORD).headers["ETag"]
    api.patch(RECORD, json=body(apex_phase="new"))
    answer = api.patch(RECORD, json=body(), headers={"If-Match": stale})
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "0x80060882")
    assert emulator.records()[0]["apex_phase"] == "new"
    fresh = api.get(RECORD).headers["ETag"]
    assert (
        api.patch(RECORD, json=body(), headers={"If-Match": fresh}).status_code == 204
    )


def test_get_shows_every_column_and_an_unchanged_record_is_304(api):
    api.patch(RECORD, json=body())
    answer = api.get(RECORD)
    found = answer.json()
    assert found["apex_createdat"] == "2025-10-30T13:00:00Z"
    assert {"createdon", "modifiedon", "statecode", "statuscode", "versionnumber"} <= (
        found.keys()
    )
    unchanged = api.get(RECORD, headers={"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_post_creates_under_a_new_or_a_given_id(emulator, api):
    created = api.post(SET, json=body())
    assert created.status_code == 204
    record_id = emulator.records()[0]["apex_campaignmetricsid"]
    assert created.headers["OData-EntityId"] == f"{emulator.api}/{SET}({record_id})"
    given = {"apex_campaignmetricsid": ID, **body()}
    represented = api.post(SET, json=given, headers={"Prefer": "return=representation"})
    assert represented.status_code == 201
    assert represented.json()["apex_campaignmetricsid"] == ID
    taken = api.post(SET, json=given)
    assert (taken.status_code, taken.json()["error"]["code"]) == (412, "0x80040237")


def test_delete_takes_the_record_away(emulator, api):
    api.patch(RECORD, json=body())
    assert api.delete(RECORD).status_code == 204
    assert emulator.records() == []
    assert api.delete(RECORD).status_code == 404
    assert api.get(RECORD).json()["error"]["code"] == "0x80040217"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "apex_campaignmetrics", 404, "0x80060888"),
        ("GET", f"{SET}(nonsense)", 400, "0x80060888"),
        ("GET", f"{SET}(apex_runid='r')", 400, "0x80060888"),
        ("PUT", RECORD, 405, "0x8006088a"),
        ("DELETE", SET, 405, "0x8006088a"),
        ("GET", f"{SET}?sql=SELECT 1", 501, "0x80004001"),
        ("GET", f"{SET}?fetchXml=<fetch/>", 501, "0x80004001"),
        ("GET", "$metadata", 501, "0x80004001"),
        ("POST", f"{SET}/Microsoft.Dynamics.CRM.DeleteMultiple", 501, "0x80004001"),
    ],
)
def test_what_is_not_there_says_so(api, method, path, status, code):
    answer = api.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_unknown_entity_set_is_named(api):
    answer = api.get("apex_nothings")
    assert answer.json()["error"]["message"] == (
        "Resource not found for the segment 'apex_nothings'."
    )


def test_overriddencreatedon_backdates(emulator, api):
    api.patch(RECORD, json=body(overriddencreatedon="2020-01-02T03:04:05Z"))
    assert emulator.records()[0]["createdon"] == "2020-01-02T03:04:05Z"


def test_a_column_for_creation_alone_is_ignored_on_update(emulator, api):
    api.patch(RECORD, json=body())
    api.patch(RECORD, json=body(overriddencreatedon="2020-01-02T03:04:05Z"))
    assert emulator.records()[0]["overriddencreatedon"] is None


def test_columns_that_cannot_be_written_are_ignored(emulator, api):
    answer = api.patch(
        RECORD, json=body(createdon="2001-01-01T00:00:00Z", versionnumber=7)
    )
    assert answer.status_code == 204
    assert emulator.records()[0]["createdon"] != "2001-01-01T00:00:00Z"


def test_errors_carry_annotations_on_request(api):
    answer = api.get(
        f"{SET}({uuid4()})", headers={"Prefer": 'odata.include-annotations="*"'}
    )
    assert "@Microsoft.PowerApps.CDS.HelpLink" in answer.json()["error"]


def test_every_answer_can_be_correlated(api):
    first, second = api.get("WhoAmI"), api.get(SET)
    assert first.headers["x-ms-service-request-id"] == first.headers["REQ_ID"]
    assert first.headers["REQ_ID"] != second.headers["REQ_ID"]
    assert first.headers["OData-Version"] == "4.0"
