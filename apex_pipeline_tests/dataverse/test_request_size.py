"""The request size on services of every speed, on a simulated clock."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from apex_pipeline.dataverse.pacing import Allowance, Pacer
from apex_pipeline.dataverse.request_size import MOST_ROWS, RequestSize

TIMEOUT = 120.0
BUDGET = 240.0


@dataclass(frozen=True)
class Profile:
    """A service: seconds per request and per row, and its hint."""

    request: float
    row: float
    hint: int

    def seconds(self, rows: int) -> float:
        return self.request + rows * self.row


PROFILES = {
    "90 ms and 10 ms a row": Profile(0.09, 0.01, 10),
    "25 ms a row": Profile(0.0, 0.025, 5),
    "800 ms and 1 ms a row": Profile(0.8, 0.001, 10),
    "1.5 s a row": Profile(0.0, 1.5, 4),
    "no latency": Profile(0.0, 0.0005, 10),
}
SIZES = (5, 10, 15, 20, 25, 50, 100, 200, 250, 400, 500, 800, 1000)


@dataclass
class Run:
    """The deliveries of one run.

    Attributes:
        ended: When its last request ended, seconds from its beginning.
        most: Most requests that were under way at once.
        late: Requests that ended after the budget.
    """

    rows: int = 0
    requests: int = 0
    timed_out: int = 0
    ended: float = 0.0
    most: int = 0
    late: int = 0


def simulate(
    seconds: Callable[[int], float],
    hint: int,
    size: RequestSize,
    *,
    backlog: int,
    budget: float = BUDGET,
    fixed: int | None = None,
) -> Run:
    """One run like that of the stream: a request whenever a slot is free."""
    pacer, run, left, now = Pacer(), Run(), backlog, 0.0
    under_way: list[tuple[float, int, int, float]] = []
    for serial in range(10**6):
        rows = 0
        if left and pacer.wait(now) == 0.0:
            rows = fixed or size.portion(
                left=left,
                slots=pacer.concurrency,
                seconds=budget - now,
                busy=[end - now for end, *_ in under_way],
            )
            rows = min(rows, left)
            if fixed and run.requests and seconds(rows) > budget - now:
                rows = 0
        if rows and now < budget:
            pacer.started(now)
            left -= rows
            run.requests += 1
            run.most = max(run.most, pacer.in_flight)
            took = seconds(rows)
            end = now + min(took, TIMEOUT)
            heapq.heappush(under_way, (end, serial, rows, took))
            continue
        if not under_way:
            break
        now, _, rows, took = heapq.heappop(under_way)
        pacer.finished(now, min(took, TIMEOUT), Allowance(concurrency_hint=hint))
        if took > TIMEOUT:
            left += rows
            run.timed_out += 1
            size.failed(rows, TIMEOUT)
        else:
            run.rows += rows
            size.answered(rows, took)
        run.ended = now
        run.late += now > budget
    return run


def best_fixed(profile: Profile, backlog: int) -> float:
    """Rows per second of the best of the fixed sizes."""
    return max(
        run.rows / run.ended
        for rows in SIZES
        if profile.seconds(rows) < TIMEOUT
        for run in [
            simulate(
                profile.seconds,
                profile.hint,
                RequestSize(timeout=TIMEOUT),
                backlog=backlog,
                fixed=rows,
            )
        ]
    )


def following(size: RequestSize) -> RequestSize:
    """The size in the next process."""
    known = RequestSize(timeout=TIMEOUT)
    known.restore(size.snapshot())
    return known


@pytest.mark.parametrize(
    ("name", "backlog"),
    [(name, 100_000) for name in PROFILES] + [("90 ms and 10 ms a row", 10_000)],
)
def test_within_three_percent_of_the_best_fixed_size(name, backlog):
    """The size after earlier runs have found the best one."""
    profile, size = PROFILES[name], RequestSize(timeout=TIMEOUT)
    for _ in range(3):
        run = simulate(profile.seconds, profile.hint, size, backlog=backlog)
        size = following(size)
    assert run.rows / run.ended >= 0.97 * best_fixed(profile, backlog)
    assert run.most <= profile.hint
    assert run.timed_out == 0


@pytest.mark.parametrize("name", [name for name in PROFILES if "1.5 s" not in name])
def test_the_first_run_loses_a_tenth_at_most_where_no_request_times_out(name):
    profile, size = PROFILES[name], RequestSize(timeout=TIMEOUT)
    run = simulate(profile.seconds, profile.hint, size, backlog=100_000)
    assert run.rows / run.ended >= 0.9 * best_fixed(profile, 100_000)


@pytest.mark.parametrize("row", [1.5, 5.0, 20.0])
def test_a_service_that_is_too_slow_for_a_hundred_rows_gets_them_in_a_few_runs(row):
    size, delivered = RequestSize(timeout=TIMEOUT), []
    for _ in range(4):
        run = simulate(lambda rows: rows * row, 4, size, backlog=10_000)
        size = following(size)
        assert run.ended <= BUDGET + TIMEOUT
        delivered.append(run.rows)
    assert delivered[-1] >= 0.8 * 4 * BUDGET / row
    assert size.rows * row <= TIMEOUT / 2


@pytest.mark.parametrize("name", PROFILES)
def test_what_can_be_foreseen_ends_within_the_budget(name):
    profile, size = PROFILES[name], RequestSize(timeout=TIMEOUT)
    simulate(profile.seconds, profile.hint, size, backlog=10_000)
    run = simulate(
        profile.seconds, profile.hint, following(size), backlog=10**6, budget=30.0
    )
    assert run.late == 0


def test_a_service_ten_times_slower_in_mid_run_is_followed_without_a_timeout():
    size, asked = RequestSize(timeout=TIMEOUT), 0

    def seconds(rows):
        nonlocal asked
        asked += 1
        return rows * (0.02 if asked < 40 else 0.2)

    run = simulate(seconds, 4, size, backlog=10**6)
    assert run.timed_out <= 4
    assert size.rows * 0.2 <= TIMEOUT / 2


def test_it_grows_back_when_the_service_is_well_again():
    size = RequestSize(timeout=TIMEOUT)
    for _ in range(2):
        simulate(lambda rows: rows * 1.5, 4, size, backlog=10_000)
        size = following(size)
    assert size.rows <= 40
    simulate(PROFILES["90 ms and 10 ms a row"].seconds, 10, size, backlog=100_000)
    assert size.rows >= 200


@pytest.mark.parametrize("limit", [37, 250, 999])
def test_what_is_refused_as_too_large_is_seldom_tried_again(limit):
    size, refused = RequestSize(timeout=TIMEOUT), 0
    for _ in range(2000):
        rows = size.rows
        if rows > limit:
            refused += 1
            size.failed(rows)
        else:
            size.answered(rows, 0.8 + rows * 0.001)
    assert size.rows > limit / 4
    assert refused <= 12


def test_requests_grow_until_their_number_is_no_scarcer_than_their_time():
    """6 000 requests in 1 200 s: a shorter one than 0.2 s is dear, gain or no gain."""
    size = RequestSize(timeout=TIMEOUT)
    for _ in range(200):
        size.answered(size.rows, size.rows * 0.001)
    assert 200 <= size.rows <= 400


def test_a_fixed_size_neither_grows_nor_follows_the_time():
    size = RequestSize(timeout=TIMEOUT, fixed=70)
    size.restore({"rows": 500})
    for _ in range(200):
        size.answered(70, 0.8)
    size.answered(70, 100.0)
    assert size.rows == 70
    size.failed(70, TIMEOUT)
    assert size.rows < 70


def test_a_run_begins_with_a_short_request():
    size = RequestSize(timeout=TIMEOUT)
    size.restore({"rows": 1000, "seconds": 0.1, "seconds_per_row": 0.01})
    assert size.portion(left=100_000, slots=1, seconds=BUDGET) == 5
    assert size.portion(left=100_000, slots=10, seconds=BUDGET) == 1000


def test_few_rows_are_not_cut_into_smaller_requests():
    size = RequestSize(timeout=TIMEOUT)
    assert size.portion(left=50, slots=4, seconds=BUDGET) == 100


@given(
    left=st.integers(1, 15_000),
    busy=st.lists(st.floats(0, 12), max_size=9),
)
def test_at_the_end_of_a_backlog_all_slots_end_together(left, busy):
    """No slot ends later than another one could have taken a hundred of its rows."""
    fixed, each, slots = 0.1, 0.01, 10
    size = RequestSize(timeout=TIMEOUT)
    size.restore({"rows": 1000, "seconds": fixed, "seconds_per_row": each})
    size.portion(left=1, slots=1, seconds=BUDGET)
    ends = [*busy, *[0.0] * (slots - len(busy))]
    ended = [end for end in ends if end]
    while left > 0:
        now = min(ends)
        ends.remove(now)
        under_way = [end - now for end in ends if end > now]
        rows = min(
            left, size.portion(left=left, slots=slots, seconds=BUDGET, busy=under_way)
        )
        left -= rows
        ends.append(now + fixed + each * rows)
        ended.append(ends[-1])
    hundred = fixed + each * 100
    assert max(ended) <= max([*busy, min(ends) + 2 * hundred])


@pytest.mark.parametrize(
    "saved",
    [
        None,
        [],
        {},
        {"rows": "7"},
        {"rows": -1},
        {"rows": 10**9},
        {"rows": 100, "seconds": 0, "seconds_per_row": float("nan")},
        {"rows": 100, "seconds": float("inf"), "seconds_per_row": 0},
        {"rows": 100, "seconds": 0, "seconds_per_row": -1},
    ],
)
def test_nonsense_from_an_earlier_process_is_passed_over(saved):
    size = RequestSize(timeout=TIMEOUT)
    size.restore(saved)
    assert size.rows == 100
    assert size.expected_seconds(10) == 0


@given(st.integers(0, 2**32), st.floats(0, 5), st.floats(0, 3))
def test_whatever_is_told_the_size_stays_a_size(seed, request, row):
    rng, size = random.Random(seed), RequestSize(timeout=TIMEOUT)
    for _ in range(200):
        rows = size.portion(left=10**6, slots=rng.randint(1, 52), seconds=1e12)
        assert 1 <= rows <= MOST_ROWS
        seconds = (request + row * rows) * rng.uniform(0.5, 2.0)
        if seconds > TIMEOUT or rng.random() < 0.05:
            size.failed(rows, min(seconds, TIMEOUT) * rng.choice([0, 1]))
        else:
            size.answered(rows, seconds)
