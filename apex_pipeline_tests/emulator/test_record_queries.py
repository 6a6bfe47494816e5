"""Lists: filters, order, pages, counts."""

from decimal import Decimal

import httpx
import pytest

from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    api,
    campaign_metric,
)

__all__ = ["api"]


@pytest.fixture
def ten(api):
    """Ten records, r-0 to r-9; r-9 has no phase."""
    targets = [
        campaign_metric(
            apex_campaignmetricsid=f"00000000-0000-4000-8000-{number:012d}",
            apex_runid=f"r-{number}",
            apex_phase=None if number == 9 else f"{number % 3}",
            apex_tokensin=number * 10,
            apex_costusd=number * 0.5 - 1,
            apex_createdat=f"2025-10-{number + 10}T00:00:00Z",
        )
        for number in range(10)
    ]
    assert api.post(UPSERT, json={"Targets": targets}).status_code == 204
    return targets


def runs(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [record["apex_runid"][2:] for record in answer.json()["value"]]


def query(api, prefer=None, **options):
    headers = {"Prefer": prefer} if prefer else {}
    params = {f"${name}": value for name, value in options.items()}
    return api.get(SET, params=params, headers=headers)


@pytest.mark.usefixtures("ten")
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("apex_runid eq 'r-3'", "3"),
        ("apex_runid eq 'R-3'", "3"),
        ("apex_tokensin gt 70", "89"),
        ("apex_tokensin ge 70 and apex_tokensin lt 90", "78"),
        ("apex_tokensin gt 69.5 and apex_tokensin le 80", "78"),
        ("apex_costusd lt 0", "01"),
        ("apex_costusd eq -0.5", "1"),
        ("apex_costusd ge 3", "89"),
        ("apex_phase eq null", "9"),
        ("apex_phase ne null and apex_tokensin gt 60", "78"),
        ("apex_phase ne '0'", "1245789"),
        ("not (apex_phase eq '0')", "1245789"),
        ("apex_phase eq '1' or apex_phase eq '2'", "124578"),
        ("apex_phase eq '1' or apex_phase eq '2' and apex_tokensin gt 50", "1478"),
        ("(apex_phase eq '1' or apex_phase eq '2') and apex_tokensin gt 50", "78"),
        ("startswith(apex_runid,'r-')", "0123456789"),
        ("contains(apex_runid,'-7')", "7"),
        ("endswith(apex_runid,'8')", "8"),
        ("contains(apex_runid,'[_]')", ""),
        ("contains(apex_runid,'_-7')", "7"),
        ("contains(apex_runid,'r%7')", "7"),
        ("contains(apex_runid,'-[7-8]')", "78"),
        ("endswith(apex_runid,'[^0-7]')", "89"),
        ("not contains(apex_runid,'-7') and apex_tokensin gt 50", "689"),
        ("apex_createdat ge 2025-10-18T00:00:00Z", "89"),
        ("apex_createdat lt 2025-10-10T02:00:00%2B01:00", "0"),
        ("apex_createdat eq 2025-10-12", "2"),
        ("apex_campaignmetricsid eq 00000000-0000-4000-8000-000000000004", "4"),
        ("apex_campaignmetricsid eq '00000000-0000-4000-8000-000000000004'", "4"),
        ("statecode eq 0 and apex_tokensin eq 0", "0"),
        (
            (
                "Microsoft.Dynamics.CRM.In(PropertyName='apex_runid',"
                'PropertyValues=["r-1","r-2"])'
            ),
            "12",
        ),
        (
            (
                "Microsoft.Dynamics.CRM.NotIn(PropertyName='apex_tokensin',"
                "PropertyValues=['0','10','20','30','40','50','60','70'])"
            ),
            "89",
        ),
        (
            (
                "Microsoft.Dynamics.CRM.Between(PropertyName='apex_tokensin',"
                "PropertyValues=['20','40'])"
            ),
            "234",
        ),
        ("apex_runid eq @run&@run='r-5'", "5"),
        ("apex_runid eq 'it''s'", ""),
    ],
)
def test_filters(api, condition, expected):
    answer = api.get(f"{SET}?$filter={condition}&$orderby=apex_tokensin")
    assert "".join(runs(answer)) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "apex_nothing eq 1",
        "apex_runid eq 5",
        "apex_tokensin eq 'x'",
        "apex_costusd eq true",
        "apex_createdat gt 'yesterday'",
        "apex_runid eq",
        "eq 'x'",
        "(apex_runid eq 'x'",
        "apex_runid eq 'x')",
        "apex_runid eq 'x",
        "apex_runid = 'x'",
        "apex_runid like 'x'",
        "apex_runid eq @missing",
        "contains(apex_tokensin,'1')",
        "(" * 500 + "apex_tokensin eq 1" + ")" * 500,
        "not " * 5000 + "apex_tokensin eq 1",
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api, condition):
    answer = query(api, filter=condition)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888")


def test_a_filter_cannot_reach_the_database(emulator, api, ten):
    hostile = "apex_runid eq '''; DROP TABLE apex_campaignmetrics; --'"
    assert runs(query(api, filter=hostile)) == []
    assert len(emulator.records()) == len(ten)


def test_functions_that_are_not_emulated_say_so(api):
    answer = query(api, filter="year(apex_createdat) eq 2025")
    assert answer.status_code == 501


@pytest.mark.usefixtures("ten")
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("apex_runid desc", "9876543210"),
        ("apex_costusd", "0123456789"),
        ("apex_phase,apex_runid desc", "9630741852"),
        ("apex_phase desc,apex_runid", "2581470369"),
        ("apex_campaignmetricsid desc", "9876543210"),
    ],
)
def test_order(api, order, expected):
    assert "".join(runs(query(api, orderby=order))) == expected


@pytest.mark.usefixtures("ten")
@pytest.mark.parametrize("order", ["apex_phase", "apex_phase desc", "apex_costusd", ""])
@pytest.mark.parametrize("size", [1, 3, 10])
def test_pages_are_the_whole_list_once(api, order, size):
    options = {"orderby": order} if order else {}
    whole = runs(query(api, **options))
    prefer = {"Prefer": f"odata.maxpagesize={size}"}
    answer = query(api, prefer["Prefer"], **options)
    pages = [runs(answer)]
    while link := answer.json().get("@odata.nextLink"):
        answer = api.get(link, headers=prefer)
        pages.append(runs(answer))
    assert [run for page in pages for run in page] == whole
    assert all(len(page) == size for page in pages[:-1])


def test_the_next_page_begins_behind_the_last_record_whatever_was_deleted(api, ten):
    first = query(api, "odata.maxpagesize=3", orderby="apex_runid")
    for target in ten[:3]:
        api.delete(f"{SET}({target['apex_campaignmetricsid']})")
    second = api.get(first.json()["@odata.nextLink"])
    assert runs(second)[:2] == ["3", "4"]


@pytest.mark.usefixtures("ten")
def test_the_next_link_repeats_the_query(api):
    answer = query(
        api,
        "odata.maxpagesize=2",
        select="apex_runid",
        filter="apex_tokensin ge 30 and apex_phase ne 'a''b'",
        orderby="apex_runid desc",
        count="true",
    )
    assert answer.headers["Preference-Applied"] == "odata.maxpagesize=2"
    assert answer.json()["@odata.count"] == 7
    following = api.get(
        answer.json()["@odata.nextLink"], headers={"Prefer": "odata.maxpagesize=2"}
    )
    assert runs(following) == ["7", "6"]
    assert following.json()["@odata.count"] == 7
    assert set(following.json()["value"][0]) == {
        "@odata.etag",
        "apex_runid",
        "apex_campaignmetricsid",
    }


def test_a_token_that_is_not_ours_is_refused(api):
    answer = query(api, skiptoken="<cookie>")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80040203")


@pytest.mark.usefixtures("ten")
def test_a_token_of_another_order_is_refused(api):
    link = query(api, "odata.maxpagesize=2", orderby="apex_runid").json()
    other = link["@odata.nextLink"].replace(
        "$orderby=apex_runid", "$orderby=apex_phase"
    )
    assert api.get(other).status_code == 400


@pytest.mark.usefixtures("ten")
def test_top_limits_and_does_not_page(api):
    answer = query(api, top="4", orderby="apex_runid")
    assert runs(answer) == ["0", "1", "2", "3"]
    assert "@odata.nextLink" not in answer.json()


@pytest.mark.usefixtures("ten")
def test_top_is_ignored_where_a_page_size_is_preferred(api):
    assert len(runs(query(api, "odata.maxpagesize=6", top="4"))) == 6


@pytest.mark.parametrize(
    "options",
    [{"skip": "1"}, {"top": "-1"}, {"top": "x"}, {"orderby": "apex_runid up"}],
)
def test_malformed_options_are_refused(api, options):
    answer = query(api, **options)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "0x80060888")


def test_select_of_an_unknown_column_is_refused(api):
    answer = query(api, select="apex_runid,apex_x")
    assert answer.json()["error"]["message"] == (
        "Could not find a property named 'apex_x' on type"
        " 'Microsoft.Dynamics.CRM.apex_campaignmetrics'."
    )


def test_counts_stop_at_five_thousand(api):
    for start in range(0, 5001, 1000):
        targets = [
            campaign_metric(apex_runid=f"r-{start + number}")
            for number in range(min(1000, 5001 - start))
        ]
        assert api.post(UPSERT, json={"Targets": targets}).status_code == 204
    answer = query(
        api,
        'odata.include-annotations="Microsoft.Dynamics.CRM.totalrecordcount,'
        'Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"',
        count="true",
        select="apex_runid",
    )
    found = answer.json()
    assert found["@odata.count"] == 5000
    assert found["@Microsoft.Dynamics.CRM.totalrecordcount"] == 5000
    assert found["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is True
    assert len(found["value"]) == 5000
    assert len(api.get(found["@odata.nextLink"]).json()["value"]) == 1
    assert api.get(f"{SET}/$count").text == "5000"


@pytest.mark.usefixtures("ten")
def test_decimals_are_numbers_with_the_places_of_their_column(api):
    answer = query(api, filter="apex_runid eq 'r-1'", select="apex_costusd")
    assert '"apex_costusd":-0.50000' in answer.text
    assert Decimal("-0.5") == Decimal(str(answer.json()["value"][0]["apex_costusd"]))


@pytest.mark.usefixtures("ten")
def test_count_segment_takes_a_filter(api):
    answer = api.get(f"{SET}/$count", params={"$filter": "apex_tokensin gt 50"})
    assert answer.text == "4"
    assert answer.headers["Content-Type"] == "text/plain"
