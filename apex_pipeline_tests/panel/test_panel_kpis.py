from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.errors import DataverseError
from apex_pipeline.panel.kpis import Run, compare, key_figures, read_run

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
RECORD = {
    "apex_campaignid": "a",
    "apex_agentstotal": 4,
    "apex_agentssuccessful": 3,
    "apex_assetsgenerated": 2,
    "apex_tokensin": 10,
    "apex_tokensout": 1,
    "apex_costusd": Decimal("0.5"),
    "apex_latencyp95ms": 100,
    "apex_createdat": "2026-11-25T11:00:00Z",
}


def run(**overrides: object) -> Run:
    return read_run(RECORD | overrides)


def at(**before: float) -> Run:
    return run(apex_createdat=(NOW - timedelta(**before)).isoformat())


@pytest.mark.parametrize(
    ("seconds", "current", "previous"),
    [
        (-60, 1, 0),  # a clock that is ahead
        (0, 1, 0),
        (24 * 3600 - 1, 1, 0),
        (24 * 3600, 0, 1),
        (48 * 3600 - 1, 0, 1),
        (48 * 3600, 0, 0),
    ],
)
def test_a_run_counts_in_the_one_day_that_it_lies_in(seconds, current, previous):
    compared = compare([at(seconds=seconds)], NOW)
    assert (compared.current.runs, compared.previous.runs) == (current, previous)


def test_what_there_is_nothing_to_compute_of_is_none():
    blank = dict.fromkeys(RECORD) | {"apex_createdat": RECORD["apex_createdat"]}
    found = key_figures([read_run(blank)])
    assert found.runs == 1
    assert {getattr(found, name) for name in found.__slots__} == {1, None}
    without_agents = key_figures([run(apex_agentstotal=0, apex_agentssuccessful=0)])
    assert without_agents.success_rate_pct is None


def test_a_run_that_lacks_a_value_weighs_nothing_in_what_needs_it():
    found = key_figures([run(), run(apex_assetsgenerated=None, apex_tokensin=None)])
    assert found.assets_per_run == Decimal(2)
    assert (found.tokens_in, found.runs) == (10, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"apex_createdat": None},
        {"apex_createdat": "yesterday"},
        {"apex_createdat": "2026-11-25T11:00:00"},
        {"apex_costusd": "much"},
        {"apex_costusd": float("nan")},
        {"apex_tokensin": "10"},
        {"apex_latencyp95ms": Decimal("1.5")},
    ],
)
def test_a_value_of_another_type_is_told_and_not_passed_over(wrong):
    with pytest.raises(DataverseError, match="apex doctor"):
        run(**wrong)


@given(
    st.lists(
        st.builds(
            run,
            apex_agentstotal=st.integers(0, 50),
            apex_agentssuccessful=st.integers(0, 50),
            apex_latencyp95ms=st.integers(0, 2**31 - 1),
            apex_costusd=st.decimals(0, 1000, places=5),
            apex_campaignid=st.sampled_from("abc"),
        ),
        min_size=1,
    )
)
def test_figures_lie_between_those_of_the_runs(runs):
    found = key_figures(runs)
    latencies = [one.latency_p95_ms for one in runs]
    assert found.latency_p95_worst_ms == max(latencies)
    assert found.latency_p95_median_ms is not None
    assert min(latencies) <= found.latency_p95_median_ms <= max(latencies)
    assert found.cost_per_campaign_usd is not None
    assert 0 <= found.cost_per_campaign_usd <= sum(one.cost_usd for one in runs)
    assert key_figures(runs[::-1]) == found
