"""Change tracking: delta links, pages, deletions, expiry."""

import pytest

from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    Dial,
    api,
    campaign_metric,
    dial,
    timed_emulator,
    web_api,
)

__all__ = ["api", "dial", "timed_emulator"]

TRACK = {"Prefer": "odata.track-changes"}


def track(api, path=f"{SET}?$select=apex_runid", **headers):
    """Follow pages to the end: the objects, and the delta link."""
    objects = []
    while True:
        found = api.get(path, headers={**TRACK, **headers}).json()
        assert found["@odata.context"].endswith("(apex_runid)/$delta"), found
        objects += found["value"]
        if "@odata.deltaLink" in found:
            return objects, found["@odata.deltaLink"]
        path = found["@odata.nextLink"]


def follow(api, link):
    found = api.get(link).json()
    return found["value"], found["@odata.deltaLink"]


def upsert(api, *runs):
    targets = [campaign_metric(apex_runid=run) for run in runs]
    assert api.post(UPSERT, json={"Targets": targets}).status_code == 204
    return [f"{SET}({target['apex_campaignmetricsid']})" for target in targets]


def test_a_delta_link_leads_to_what_changed_since(api):
    first, _ = upsert(api, "a", "b")
    everything, link = track(api)
    assert {each["apex_runid"] for each in everything} == {"a", "b"}
    assert "$deltatoken=" in link
    assert follow(api, link)[0] == []
    upsert(api, "c")
    api.patch(first, json={"apex_runid": "changed"})
    changes, link = follow(api, link)
    assert {each["apex_runid"] for each in changes} == {"c", "changed"}
    assert follow(api, link)[0] == []


def test_deletions_are_told(emulator, api):
    gone, _ = upsert(api, "a", "b")
    _, link = track(api)
    api.delete(gone)
    changes, later = follow(api, link)
    assert changes == [
        {
            "@odata.context": f"{emulator.api}/$metadata#{SET}/$deletedEntity",
            "id": gone[gone.index("(") + 1 : -1],
            "reason": "deleted",
        }
    ]
    assert follow(api, later)[0] == []
    api.patch(gone, json={"apex_runid": "again"})
    assert [each.get("apex_runid") for each in follow(api, link)[0]] == ["again"]


def test_pages_lead_to_one_delta_link(api):
    upsert(api, *(f"r-{number}" for number in range(7)))
    prefer = "odata.track-changes, odata.maxpagesize=3"
    everything, link = track(api, Prefer=prefer)
    assert len({each["apex_runid"] for each in everything}) == 7
    upsert(api, *(f"s-{number}" for number in range(5)))
    changes, _ = track(api, link, Prefer="odata.maxpagesize=2")
    assert len({each["apex_runid"] for each in changes}) == 5


@pytest.mark.parametrize("option", ["$filter", "$orderby", "$top", "$expand"])
def test_some_options_do_not_go_with_tracking(api, option):
    answer = api.get(f"{SET}?{option}=1", headers=TRACK)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        f'The "{option}" query parameter isn\'t supported when Change Tracking is'
        " enabled."
    )


def test_a_table_without_tracking_says_so(api):
    answer = api.get("roles", headers=TRACK)
    assert answer.status_code == 400
    assert "change tracking" in answer.json()["error"]["message"]


def test_a_delta_link_lives_seven_days(timed_emulator, dial: Dial):
    timed_emulator.set_limits(requests=1000)
    with web_api(timed_emulator) as client:
        _, link = track(client)
    dial.now += 7 * 86400 - 60
    with web_api(timed_emulator) as client:
        assert client.get(link).status_code == 200
    dial.now += 120
    with web_api(timed_emulator) as client:
        expired = client.get(link)
    assert expired.json()["error"]["code"] == "0x80044352"


def test_a_token_that_is_not_ours_is_refused(api):
    assert api.get(f"{SET}?$deltatoken=nonsense").status_code == 400
