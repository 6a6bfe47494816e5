"""Comparing a record with its row, whatever the record contains."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.metrics import COLUMNS, read_metric
from apex_pipeline.reconcile.value_comparison import created_second, differing_columns
from apex_pipeline_tests.support.ends import campaign_row
from apex_pipeline_tests.support.hostile_environment import JSON

ROW = campaign_row(created_at=Decimal("1761829200.75"))
RECORD = json.loads(read_metric(ROW).fields, parse_float=Decimal)  # type: ignore[union-attr]  # a good row
NAMES = [column.dataverse for column in COLUMNS]

HOSTILE = JSON | st.sampled_from(
    [
        True,
        Decimal("1e999999"),
        Decimal("-1e-999999"),
        10**4000,
        float("nan"),
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "2025-10-30T13:00:00",
        "\ud800",
    ]
)


def test_a_record_as_it_was_sent_differs_in_nothing():
    assert differing_columns(ROW, RECORD) == ()


@given(record=st.dictionaries(st.sampled_from(NAMES), HOSTILE))
def test_whatever_a_record_says_it_is_compared(record):
    wrong = differing_columns(ROW, RECORD | record)
    assert len(wrong) <= len(record)
    assert created_second(record) is None or isinstance(created_second(record), int)


@pytest.mark.parametrize(
    "same",
    [
        {"apex_costusd": Decimal("0.0034800000")},
        {"apex_costusd": Decimal("0.003481")},
        {"apex_agentstotal": Decimal("5.0")},
        {"apex_campaignid": str(ROW["campaign_id"]).upper()},
        {"apex_createdat": "2025-10-30T14:00:00+01:00"},
        {"apex_createdat": "2025-10-30T13:00:00.9Z"},
    ],
)
def test_what_dataverse_stores_alike_is_equal(same):
    assert differing_columns(ROW, RECORD | same) == ()


@pytest.mark.parametrize("value", [True, "5", 5.5, None, Decimal("5.1")])
def test_a_value_of_another_type_differs(value):
    record = RECORD | {"apex_agentstotal": value}
    assert differing_columns(ROW, record) == ("agents_total",)
