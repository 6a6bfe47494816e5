"""How `apex status` spends the time that is left for its answer."""

import pytest

from apex_pipeline.monitoring.status_overview import seconds_for_queries
from apex_pipeline.postgres.time_limits import TimeBudget

STATEMENT_SECONDS = 3.0


def limits(left):
    budget = TimeBudget(
        STATEMENT_SECONDS, seconds_for_queries(left), clock=lambda: 100.0
    )
    return budget.limits()


@pytest.mark.parametrize("left", [3.0, 3.3, 4.0, 5.0, 8.5])
def test_a_wait_for_a_lock_leaves_time_to_name_its_holder(left):
    assert limits(left).lock + 1.5 <= left


@pytest.mark.parametrize("left", [-1.0, 0.0, 3.0, 8.5])
def test_a_slow_count_has_its_time_however_little_is_left(left):
    assert limits(left).statement == STATEMENT_SECONDS


def test_a_machine_with_time_waits_as_long_as_ever():
    assert seconds_for_queries(8.5) == 4.0
    assert limits(8.5).lock == pytest.approx(2.7)
