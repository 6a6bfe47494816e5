import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.column_types import WholeNumber
from apex_pipeline.metrics import (
    COLUMNS,
    INVALID,
    CampaignMetric,
    Rejection,
    read_metric,
)
from apex_pipeline_tests.support.metric_rows import ID, row


def fields(**overrides):
    metric = read_metric(row(**overrides))
    assert isinstance(metric, CampaignMetric), metric
    return json.loads(metric.fields, parse_float=Decimal)


def problem(**overrides):
    rejection = read_metric(row(**overrides))
    assert isinstance(rejection, Rejection)
    assert rejection.code == INVALID
    return rejection.message


def test_a_row_becomes_a_record_of_13_columns():
    assert fields() == {
        "apex_campaignid": str(UUID(int=1)),
        "apex_runid": str(UUID(int=2)),
        "apex_phase": "2-3",
        "apex_agentstotal": 5,
        "apex_agentssuccessful": 4,
        "apex_assetsgenerated": 12,
        "apex_tokensin": 1500,
        "apex_tokensout": 3000,
        "apex_costusd": Decimal("0.00348"),
        "apex_latencyp95ms": 51200,
        "apex_latencyavgms": 42000,
        "apex_successrate": Decimal("80.00"),
        "apex_createdat": "2026-10-30T13:00:00Z",
    }
    assert len(COLUMNS) == 13


def test_the_record_has_the_id_of_the_row_for_its_key():
    metric = read_metric(row())
    assert isinstance(metric, CampaignMetric)
    assert (metric.id, metric.key) == (ID, ID)


def test_text_ids_are_read_like_uuids():
    assert fields(id=ID, campaign_id="c-1", run_id="r-1")["apex_campaignid"] == "c-1"


def test_an_id_that_is_no_uuid_cannot_be_a_key():
    assert "id is not a UUID" in problem(id="row-1")


@pytest.mark.parametrize("value", [2**31 - 1, -(2**31)])
def test_the_whole_range_of_int32_travels(value):
    assert fields(tokens_in=value)["apex_tokensin"] == value


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 10**30])
def test_a_number_beyond_int32_is_refused_with_the_limit(value):
    assert f"tokens_in is {value}; the column holds -2147483648" in problem(
        tokens_in=value
    )


def test_a_fraction_does_not_fit_a_whole_number():
    assert "holds whole numbers" in problem(agents_total=Decimal("1.5"))
    assert fields(agents_total=Decimal("7.000"))["apex_agentstotal"] == 7


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_refused(value):
    assert "cost_usd is " in problem(cost_usd=Decimal(value))
    assert "success_rate_pct is " in problem(success_rate_pct=float(value))


def test_decimals_travel_digit_by_digit():
    assert fields(cost_usd=Decimal("99999999999.12345"))["apex_costusd"] == Decimal(
        "99999999999.12345"
    )


def test_surplus_digits_are_rounded_half_up():
    assert fields(cost_usd=Decimal("0.000005"))["apex_costusd"] == Decimal("0.00001")
    assert fields(success_rate_pct=66.665)["apex_successrate"] == Decimal("66.67")


@pytest.mark.parametrize("value", ["0", "0E-9", "-0.00001", "1E+3"])
def test_decimals_travel_without_an_exponent(value):
    metric = read_metric(row(cost_usd=Decimal(value), success_rate_pct=Decimal(value)))
    assert isinstance(metric, CampaignMetric)
    sent = json.loads(metric.fields, parse_float=str)
    assert (sent["apex_costusd"], sent["apex_successrate"]) == (
        f"{Decimal(value):.5f}",
        f"{Decimal(value):.2f}",
    )


@pytest.mark.parametrize("column", [column.postgres for column in COLUMNS])
def test_a_missing_value_is_named_with_whatever_else_is_wrong(column):
    other = "tokens_in" if column != "tokens_in" else "tokens_out"
    assert problem(**{column: None}) == f"{column} is missing"
    assert problem(**{column: None, other: 2**31}).count(f"{column} is missing") == 1
    assert f"{other} is 2147483648" in problem(**{column: None, other: 2**31})


def test_a_decimal_beyond_the_range_is_refused():
    assert "cost_usd is 100000000000.1" in problem(cost_usd=Decimal("100000000000.1"))


def test_text_is_measured_in_utf16_code_units():
    assert fields(phase="x" * 16)["apex_phase"] == "x" * 16
    assert fields(phase="\U0001f600" * 8)["apex_phase"] == "\U0001f600" * 8
    assert "phase is 18 characters long; the column holds 16" in problem(
        phase="\U0001f600" * 9
    )


def test_the_instant_is_sent_in_utc_with_whole_seconds():
    east = timezone(timedelta(hours=9))
    created = datetime(2026, 1, 1, 8, 59, 59, 999999, tzinfo=east)
    assert fields(created_at=created)["apex_createdat"] == "2025-12-31T23:59:59Z"
    assert fields(created_at=Decimal("0.999"))["apex_createdat"] == (
        "1970-01-01T00:00:00Z"
    )
    assert fields(created_at=Decimal("-0.001"))["apex_createdat"] == (
        "1969-12-31T23:59:59Z"
    )


@pytest.mark.parametrize(
    "value",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1752, 12, 31, tzinfo=UTC),
        Decimal(-62135596800),
        Decimal(-70000000000),
        Decimal(10) ** 12,
        Decimal("-Infinity"),
    ],
)
def test_an_instant_that_the_column_cannot_hold_is_refused(value):
    assert problem(created_at=value).startswith("created_at ")


def test_two_rows_that_are_one_record_are_not_both_sent():
    capitals = ID.upper()
    metric = read_metric(row(id=capitals))
    assert isinstance(metric, CampaignMetric)
    assert (metric.id, metric.key) == (capitals, ID)
    assert "id equals that of another row" in problem(id=capitals, has_twin=True)


@pytest.mark.parametrize("spelling", ["{%s}", "urn:uuid:%s"])
def test_an_id_in_an_unusual_spelling_is_refused(spelling):
    assert "standard form" in problem(id=spelling % ID)
    assert "standard form" in problem(id=ID.replace("-", ""))
    assert "standard form" in problem(id=ID.replace("c8f4e", "C8f4e"))


def test_every_problem_of_a_row_is_named():
    message = problem(phase=None, tokens_in=2**40, cost_usd=Decimal("NaN"))
    assert message.split("; ")[0] == "phase is missing"
    assert "tokens_in" in message
    assert "cost_usd" in message


@given(st.integers(), st.text(max_size=80), st.decimals())
def test_whatever_the_values_the_outcome_is_a_metric_or_a_reason(number, text, decimal):
    outcome = read_metric(row(tokens_in=number, phase=text, cost_usd=decimal))
    if isinstance(outcome, CampaignMetric):
        assert json.loads(outcome.fields)["apex_phase"] == text
    else:
        assert outcome.message


@given(st.integers(-(2**31), 2**31 - 1))
def test_int32_round_trips(number):
    assert json.loads(WholeNumber().to_json(number)) == number
