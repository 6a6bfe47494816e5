"""`$apply`, RetrieveTotalRecordCount, sdkmessagefilters."""

from decimal import Decimal

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


@pytest.fixture
def six(api):
    targets = [
        campaign_metric(
            apex_phase="A" if number % 2 else "b",
            apex_tokensin=number,
            apex_costusd=number / 10,
        )
        for number in range(6)
    ]
    assert api.post(UPSERT, json={"Targets": targets}).status_code == 204


def apply(api, expression):
    answer = api.get(SET, params={"$apply": expression})
    assert answer.status_code == 200, answer.text
    return answer.json()["value"]


@pytest.mark.usefixtures("six")
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("aggregate($count as n)", [{"n": 6}]),
        ("aggregate(apex_tokensin with sum as total)", [{"total": 15}]),
        ("aggregate(apex_costusd with sum as cost)", [{"cost": 1.5}]),
        ("aggregate(apex_tokensin with average as mean)", [{"mean": 2.5}]),
        (
            "aggregate(apex_costusd with min as low,apex_costusd with max as high)",
            [{"low": 0.0, "high": 0.5}],
        ),
        ("filter(apex_tokensin gt 3)/aggregate($count as n)", [{"n": 2}]),
        ("filter(apex_tokensin gt 99)/aggregate($count as n)", [{"n": 0}]),
        ("aggregate(apex_latencyp95ms with average as a)", [{"a": 51200.0}]),
    ],
)
def test_aggregates(api, expression, expected):
    assert apply(api, expression) == expected


@pytest.mark.usefixtures("six")
def test_groups(api):
    found = apply(
        api,
        "filter(contains(apex_phase,'(') or apex_tokensin ge 1)"
        "/groupby((apex_phase),aggregate($count as n,apex_costusd with sum as cost))",
    )
    assert sorted(found, key=lambda each: each["apex_phase"]) == [
        {"apex_phase": "A", "n": 3, "cost": 0.9},
        {"apex_phase": "b", "n": 2, "cost": 0.6},
    ]
    distinct = apply(api, "groupby((apex_phase))")
    assert {each["apex_phase"] for each in distinct} == {"A", "b"}


@pytest.mark.usefixtures("six")
def test_sums_of_decimals_are_exact(api):
    answer = api.get(SET, params={"$apply": "aggregate(apex_costusd with sum as cost)"})
    assert '"cost":1.5' in answer.text
    assert Decimal(answer.text.partition('"cost":')[2].rstrip("]}")) == Decimal("1.5")


@pytest.mark.parametrize(
    "expression",
    [
        "nonsense",
        "aggregate(apex_nothing with sum as x)",
        "aggregate(apex_phase with sum as x)",
        "aggregate(apex_tokensin with median as x)",
        "groupby((apex_createdat))",
        "groupby((apex_nothing))",
        "aggregate($count as n",
    ],
)
def test_what_makes_no_sense_is_refused(api, expression):
    answer = api.get(SET, params={"$apply": expression})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888")


@pytest.mark.slow
def test_fifty_thousand_records_are_the_most(api):
    for _ in range(50):
        targets = [campaign_metric() for _ in range(1000)]
        assert api.post(UPSERT, json={"Targets": targets}).status_code == 204
    assert apply(api, "aggregate($count as n)") == [{"n": 50000}]
    api.post(UPSERT, json={"Targets": [campaign_metric()]})
    answer = api.get(SET, params={"$apply": "aggregate($count as n)"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x8004e023")
    filtered = "filter(apex_phase eq 'none')/aggregate($count as n)"
    assert apply(api, filtered) == [{"n": 0}]


def total(client):
    answer = client.get(
        'RetrieveTotalRecordCount(EntityNames=@p1)?@p1=["apex_campaignmetrics"]'
    )
    found = answer.json()["EntityRecordCountCollection"]
    assert found["Keys"] == ["apex_campaignmetrics"]
    return found["Values"][0]


def test_the_total_count_is_a_day_old(timed_emulator, dial: Dial):
    timed_emulator.set_limits(requests=1000)
    with web_api(timed_emulator) as client:
        assert total(client) == 0
        client.post(UPSERT, json={"Targets": [campaign_metric()]})
        assert total(client) == 0
    dial.now += 25 * 3600
    with web_api(timed_emulator) as client:
        assert total(client) == 1


@pytest.mark.parametrize(
    ("message", "count"),
    [("CreateMultiple", 1), ("UpdateMultiple", 1), ("UpsertMultiple", 0)],
)
def test_message_filters_never_list_upsert_multiple(api, message, count):
    answer = api.get(
        "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq"
        " @message and primaryobjecttypecode eq @table"
        f"&@message='{message}'&@table='apex_campaignmetrics'"
    )
    assert len(answer.json()["value"]) == count


def test_a_snapshot_can_be_gone_back_to(emulator, api):
    api.post(UPSERT, json={"Targets": [campaign_metric(apex_runid="kept")]})
    emulator.snapshot("one")
    api.post(UPSERT, json={"Targets": [campaign_metric()]})
    api.delete("EntityDefinitions(LogicalName='apex_campaignmetrics')")
    emulator.restore("one")
    assert [record["apex_runid"] for record in emulator.records()] == ["kept"]
    assert api.post(UPSERT, json={"Targets": [campaign_metric()]}).status_code == 204
