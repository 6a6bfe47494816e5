"""Figures as text."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.analytics.rollups.costliest_campaigns import CampaignCost
from apex_pipeline.panel.figure_text import (
    NOTHING,
    change,
    count,
    duration,
    figure,
    instant,
    money,
)
from apex_pipeline.panel.page_view import campaigns


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (Decimal("0.00348"), "USD", "$0.0035"),
        (Decimal("12.5"), "USD", "$12.50"),
        (Decimal("0.00000"), "USD", "$0"),
        (1234567, "USD", "$1,234,567"),
        (420, "ms", "420 ms"),
        (4210, "ms", "4.21 s"),
        (51200, "ms", "51.2 s"),
        (Decimal("93.24"), "%", "93.2 %"),
        (Decimal("12.34"), "assets", "12.3"),
        (9999, "tokens", "9,999"),
        (45600, "tokens", "45.6 k"),
        (1234567, "tokens", "1.23 M"),
        (2_500_000_000, "tokens", "2.50 B"),
    ],
)
def test_a_figure_is_as_short_as_a_person_reads_it(value, unit, told):
    found = figure(value, unit)
    assert f"{found.number} {found.unit}".rstrip() == told


@pytest.mark.parametrize("unit", ["USD", "ms", "%", "assets", "tokens"])
def test_what_is_not_known_is_no_zero(unit):
    assert figure(None, unit).number == NOTHING
    assert figure(0, unit).number != NOTHING


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_not_known(value):
    for unit in ("USD", "ms", "%", "assets", "tokens"):
        assert figure(Decimal(value), unit) == figure(None, unit)
        assert figure(float(value), unit) == figure(None, unit)
    assert change(Decimal(value), "%", "lower", is_known=True).tone == "unknown"
    assert duration(float(value)) == NOTHING
    assert count(Decimal(value)) == NOTHING


@given(
    value=st.decimals(0, 10**15, places=5),
    unit=st.sampled_from(["USD", "ms", "%", "assets", "tokens"]),
)
def test_the_exact_figure_is_kept_for_whoever_points_at_it(value, unit):
    exact = figure(value, unit).exact.removesuffix(f" {unit}")
    assert Decimal(exact.replace(",", "")) == value


@pytest.mark.parametrize(
    ("amount", "better", "tone"),
    [
        (5, "lower", "worse"),
        (-5, "lower", "better"),
        (5, "higher", "better"),
        (-5, "higher", "worse"),
        (5, "neither", "more"),
        (-5, "neither", "less"),
        (0, "lower", "same"),
    ],
)
def test_a_change_says_in_words_whether_it_is_one_for_the_better(amount, better, tone):
    found = change(amount, "%", better, is_known=True)
    assert found.tone == tone
    assert (found.arrow, tone in found.text) == (
        ("", False) if amount == 0 else ("▲" if amount > 0 else "▼", True)
    )


def test_a_change_that_cannot_be_told_says_why():
    assert "compare" in change(None, "%", "lower", is_known=True).text
    assert "no data" in change(None, "%", "lower", is_known=False).text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, NOTHING),
        *((0, "0 s"), (61, "1 min 1 s"), (7200, "2 h"), (90_000, "1 day 1 h")),
        (129_388 * 60, "89 days 20 h"),
    ],
)
def test_a_length_of_time_is_told_by_its_two_largest_units(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("before", "told"),
    [(0, "nothing before"), (50, "100.0 % more"), (200, "50.0 % less")],
)
def test_a_campaign_is_told_beside_what_it_cost_before(before, told):
    cost = CampaignCost("a", None, 1, Decimal(100), Decimal(before), None, None)
    (row,) = campaigns([cost])
    assert row.change.text == told


def test_an_instant_is_told_in_the_time_zone_that_it_names():
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert instant(at, "Europe/Berlin") == "00:30:00 Europe/Berlin"
    assert (instant(at, "UTC"), instant(None, "UTC")) == ("22:30:00 UTC", NOTHING)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        *((None, NOTHING), (float("nan"), NOTHING), (0, "$0"), (Decimal(0), "$0")),
        *((Decimal("0.0001"), "<$0.01"), (Decimal("0.54066"), "$0.54")),
        *((640.61, "$640.61"), (999.99, "$999.99"), (2101.48, "$2,101")),
    ],
)
def test_a_sum_of_money_is_told_in_cents_and_a_large_one_in_dollars(value, told):
    assert money(value) == told


def test_a_number_of_things_is_grouped():
    assert (count(12345), count(None)) == ("12,345", NOTHING)
