"""What each type of column accepts, and what it gives back."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.emulator import decimals, guids
from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    api,
    campaign_metric,
)

__all__ = ["api"]


def upsert_text(api, column, text):
    """One target whose column holds the given JSON text, digit by digit."""
    target = campaign_metric()
    del target[column]
    body = json.dumps(target)[:-1] + f', "{column}": {text}}}'
    return api.post(UPSERT, content=f'{{"Targets": [{body}]}}'.encode())


def stored(emulator, column):
    return emulator.records()[-1][column]


@pytest.mark.parametrize(
    ("column", "text", "shown"),
    [
        ("apex_tokensin", "2147483647", 2147483647),
        ("apex_tokensin", "-2147483648", -2147483648),
        ("apex_tokensin", "null", None),
        ("apex_costusd", "0.00348", Decimal("0.00348")),
        ("apex_costusd", "7", Decimal("7.00000")),
        ("apex_costusd", "-99999999999.99999", Decimal("-99999999999.99999")),
        ("apex_costusd", "100000000000", Decimal("100000000000.00000")),
        ("apex_costusd", "0.000005", Decimal("0.00001")),
        ("apex_costusd", "-0.000005", Decimal("-0.00001")),
        ("apex_costusd", "1e2", Decimal("100.00000")),
        ("apex_successrate", "33.335", Decimal("33.34")),
        ("apex_phase", '"' + "x" * 16 + '"', "x" * 16),
        ("apex_phase", '""', None),
        ("apex_phase", '"\\u00e9\\n\\"\\\\"', 'é\n"\\'),
        ("apex_phase", '"' + "\U0001f600" * 8 + '"', "\U0001f600" * 8),
        ("apex_createdat", '"2025-10-30T13:00:00Z"', "2025-10-30T13:00:00Z"),
        ("apex_createdat", '"2025-10-30T13:00:00+02:00"', "2025-10-30T11:00:00Z"),
        ("apex_createdat", '"2025-10-30T13:00:00.999Z"', "2025-10-30T13:00:00Z"),
        ("apex_createdat", '"2025-10-30T13:00:00"', "2025-10-30T13:00:00Z"),
        ("apex_createdat", '"2025-10-30"', "2025-10-30T00:00:00Z"),
        ("apex_createdat", '"1753-01-01T00:00:00Z"', "1753-01-01T00:00:00Z"),
    ],
)
def test_a_value_comes_back_exactly(emulator, api, column, text, shown):
    assert upsert_text(api, column, text).status_code == 204
    found = stored(emulator, column)
    assert found == shown
    assert str(found) == str(shown)


@pytest.mark.parametrize(
    ("column", "text", "code"),
    [
        ("apex_tokensin", "2147483648", "0x80048d19"),
        ("apex_tokensin", "-2147483649", "0x80048d19"),
        ("apex_tokensin", "5.5", "0x80048d19"),
        ("apex_tokensin", "5.0", "0x80048d19"),
        ("apex_tokensin", '"5"', "0x80048d19"),
        ("apex_tokensin", "true", "0x80048d19"),
        ("apex_tokensin", "[5]", "0x80048d19"),
        ("apex_tokensin", "{}", "0x80048d19"),
        ("apex_costusd", "100000000000.00001", "0x80044330"),
        ("apex_costusd", "-100000000001", "0x80044330"),
        ("apex_costusd", "1e400", "0x80044330"),
        ("apex_costusd", '"1"', "0x80048d19"),
        ("apex_costusd", "false", "0x80048d19"),
        ("apex_phase", '"' + "x" * 17 + '"', "0x80044331"),
        ("apex_phase", '"' + "\U0001f600" * 9 + '"', "0x80044331"),
        ("apex_phase", "5", "0x80048d19"),
        ("apex_phase", '"\\ud800"', "0x80048d19"),
        ("apex_createdat", '"1752-12-31T23:59:59Z"', "0x80044331"),
        ("apex_createdat", '"0001-01-01T00:00:00+01:00"', "0x80048d19"),
        ("apex_createdat", '"2025-13-01T00:00:00Z"', "0x80048d19"),
        ("apex_createdat", '"yesterday"', "0x80048d19"),
        ("apex_createdat", "1761829200", "0x80048d19"),
        ("apex_campaignmetricsid", '"c-001"', "0x80048d19"),
        ("apex_unknown", "1", "0x80048d19"),
        ("APEX_PHASE", '"x"', "0x80048d19"),
    ],
)
def test_what_a_column_cannot_hold_is_refused(emulator, api, column, text, code):
    target_column = column if column.startswith("apex_") else "apex_phase"
    if column in {"apex_unknown", "APEX_PHASE"}:
        answer = api.post(UPSERT, json={"Targets": [campaign_metric(**{column: 1})]})
    else:
        answer = upsert_text(api, target_column, text)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert emulator.records() == []


def test_the_message_names_the_entity_set_and_the_literal(api):
    message = upsert_text(api, "apex_tokensin", "3000000000").json()["error"]["message"]
    assert message.startswith(
        "Error identified in Payload provided by the user for Entity"
        " :'apex_campaignmetricses', For more information"
    )
    assert message.endswith(
        "Cannot convert the literal '3000000000' to the expected type 'Edm.Int32'."
    )


def test_the_message_names_the_undeclared_property(api):
    answer = api.post(SET, json={"apex_foo": 1})
    assert "An undeclared property 'apex_foo'" in answer.json()["error"]["message"]


def test_application_required_is_not_enforced(emulator, api):
    assert api.post(SET, json={}).status_code == 204
    assert stored(emulator, "apex_phase") is None


@given(
    st.lists(
        st.decimals(-(10**11), 10**11, places=5).map(lambda number: number + 0),
        min_size=2,
        max_size=20,
    )
)
def test_decimals_sort_as_numbers(numbers):
    codec = decimals.DecimalCodec("t", "c", 5, Decimal(-(10**11)), Decimal(10**11))
    stored_forms = [str(codec.read(number)) for number in numbers]
    back = [Decimal(codec.show(form)) for form in sorted(stored_forms)]
    assert back == sorted(numbers)


@given(st.uuids())
def test_guids_come_back(value):
    assert guids.load_guid(guids.store_guid(str(value))) == str(value)


def test_guids_sort_as_in_sql_server():
    """The order that Microsoft shows in "Comparing GUID and uniqueidentifier values"."""
    ascending = [
        "3aaaaaaa-bbbb-cccc-dddd-1eeeeeeeeeee",
        "2aaaaaaa-bbbb-cccc-dddd-2eeeeeeeeeee",
        "1aaaaaaa-bbbb-cccc-dddd-3eeeeeeeeeee",
    ]
    assert sorted(ascending, key=guids.store_guid) == ascending
    first_group = ["00000001-0000-0000-0000-000000000000"]
    assert guids.store_guid(first_group[0]).endswith("01000000")
