"""How `apex status` spends the time that is left, and what one bad value costs it."""

import pytest

from apex_pipeline.monitoring.status_overview import overview, seconds_for_queries
from apex_pipeline.postgres.time_limits import TimeBudget
from apex_pipeline_tests.support.ends import environment, insert_many

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


@pytest.mark.parametrize("kind", ["certificate", "noted end"])
def test_an_end_that_cannot_be_read_hides_no_figure(
    emulator, database_url, tmp_path, kind
):
    insert_many(database_url, 2)
    given = environment(emulator, database_url, tmp_path)
    if kind == "certificate":
        (tmp_path / "apex.pem").write_text("nothing")
        del given["AZURE_CLIENT_SECRET"]
        given["AZURE_CLIENT_CERTIFICATE_PATH"] = str(tmp_path / "apex.pem")
    else:
        given["APEX_CLIENT_SECRET_EXPIRES_ON"] = "soon"
    found = overview(given)
    assert (found["pending"], found["credential_expires_on"]) == (2, None)
    told = "contains no certificate" if kind == "certificate" else "must be a date"
    assert told in str(found["credential_source"])
