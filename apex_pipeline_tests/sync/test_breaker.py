import pytest
from hypothesis import given, strategies as st

from apex_pipeline.errors import SystemicRejectionError
from apex_pipeline.metrics import Rejection
from apex_pipeline.sync.systemic_faults import MIN_ROWS, Breaker


def refused(count, code="0x80040203", start=0):
    return [Rejection(str(start + n), code, "no") for n in range(count)]


def feed(breaker, *requests):
    """(rows, suspects) of each request; returns what was cleared for quarantine."""
    cleared = []
    for rows, suspects in requests:
        cleared += breaker.judge(rows, suspects)
    return cleared + breaker.close()


def test_a_single_bad_row_alone_is_the_rows_fault():
    assert len(feed(Breaker(), (1, refused(1)))) == 1


def test_a_single_bad_row_among_a_thousand_is_the_rows_fault():
    requests = [(100, [])] * 9 + [(100, refused(1))]
    assert len(feed(Breaker(), *requests)) == 1


def test_fewer_rows_than_twenty_prove_nothing():
    rows = MIN_ROWS - 1
    assert len(feed(Breaker(), (rows, refused(rows)))) == rows


def test_one_error_on_most_of_twenty_rows_is_systemic():
    with pytest.raises(SystemicRejectionError, match=r"11 of 20 .*0x80040203.* no"):
        feed(Breaker(), (20, refused(11)))
    assert len(feed(Breaker(), (20, refused(10)))) == 10


def test_different_errors_are_not_one_cause():
    suspects = [Rejection(str(n), f"0x{n}", "no") for n in range(100)]
    assert len(feed(Breaker(), (100, suspects))) == 100


def test_a_service_that_refuses_everything_trips_within_three_requests():
    breaker = Breaker()
    assert breaker.judge(100, refused(100)) == []
    assert breaker.judge(100, refused(100)) == []
    with pytest.raises(SystemicRejectionError, match="300 of 300"):
        breaker.judge(100, refused(100))


def test_a_service_that_begins_to_refuse_late_is_noticed():
    breaker = Breaker()
    for _ in range(1000):
        assert breaker.judge(100, []) == []
    with pytest.raises(SystemicRejectionError):
        feed(breaker, *[(100, refused(100))] * 3)


def test_a_cluster_of_bad_rows_between_good_ones_is_not_systemic():
    cleared = feed(Breaker(), (100, refused(100)), (100, []), (100, []))
    assert len(cleared) == 100


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from("abc")),
        max_size=30,
    )
)
def test_every_suspect_is_cleared_once_or_the_run_stops(requests):
    breaker = Breaker()
    fed, number = [], 0
    for good, bad, code in requests:
        fed.append((good + bad, refused(bad, code, number)))
        number += bad
    try:
        cleared = feed(breaker, *fed)
    except SystemicRejectionError:
        return
    assert [one.id for one in cleared] == [str(n) for n in range(number)]
