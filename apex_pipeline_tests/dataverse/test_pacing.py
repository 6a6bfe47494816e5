"""The pacer against a simulated service, on a simulated clock."""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from apex_pipeline.dataverse.pacing import (
    MAX_CONCURRENCY,
    Allowance,
    Facet,
    Pacer,
)
from apex_pipeline.dataverse.window_budget import WINDOW_SECONDS


@dataclass
class Server:
    """One web server: 1 200 s of execution and 6 000 requests in a sliding 300 s."""

    seconds_limit: float = 1200.0
    requests_limit: int = 6000
    window: float = WINDOW_SECONDS
    done: deque[tuple[float, float]] = field(default_factory=deque)
    spent: float = 0.0

    def slide(self, now: float) -> None:
        while self.done and self.done[0][0] <= now - self.window:
            self.spent -= self.done.popleft()[1]

    def execute(self, now: float, seconds: float) -> None:
        self.slide(now)
        self.done.append((now, seconds))
        self.spent += seconds


@dataclass
class Outcome:
    executed: float = 0.0
    served: int = 0
    refusals: list[float] = field(default_factory=list)
    most_at_once: int = 0


def simulate(
    *,
    duration: float,
    servers: int = 1,
    latency: float = 1.0,
    hint: int | None = None,
    headers: bool = True,
    pacer: Pacer | None = None,
    seed: int = 1,
    start: float = 0.0,
    farm: list[Server] | None = None,
) -> Outcome:
    """Send as fast as the pacer allows for `duration` seconds of simulated time."""
    rng = random.Random(seed)
    pacer = pacer or Pacer()
    farm = farm if farm is not None else [Server() for _ in range(servers)]
    outcome = Outcome()
    now = start
    running: list[tuple[float, int, float, Server]] = []
    serial = 0
    while now < start + duration:
        wait = pacer.wait(now)
        if wait == 0.0:
            server = rng.choice(farm)
            server.slide(now)
            pacer.started(now)
            outcome.most_at_once = max(outcome.most_at_once, pacer.in_flight)
            if server.spent >= server.seconds_limit:
                pacer.throttled(now, 30.0, Facet.EXECUTION_TIME)
                outcome.refusals.append(now)
            elif len(server.done) >= server.requests_limit:
                pacer.throttled(now, 30.0, Facet.REQUESTS)
                outcome.refusals.append(now)
            else:
                seconds = latency * rng.uniform(0.7, 1.3)
                serial += 1
                heapq.heappush(running, (now + seconds, serial, seconds, server))
            continue
        soonest = running[0][0] if running else math.inf
        now = min(now + wait, soonest)
        if now == soonest:
            _, _, seconds, server = heapq.heappop(running)
            server.execute(now, seconds)
            outcome.executed += seconds
            outcome.served += 1
            pacer.finished(now, seconds, allowance(server, hint, headers))
    return outcome


def allowance(server: Server, hint: int | None, headers: bool) -> Allowance:
    if not headers:
        return Allowance(concurrency_hint=hint)
    return Allowance(
        requests=server.requests_limit - len(server.done),
        seconds=server.seconds_limit - server.spent,
        concurrency_hint=hint,
    )


def refused(*, at: float, retry_after: float) -> Pacer:
    pacer = Pacer()
    pacer.started(at)
    pacer.throttled(at, retry_after, None)
    return pacer


def most_refusals_in_a_window(refusals: list[float]) -> int:
    return max(
        (
            sum(1 for other in refusals if at <= other < at + WINDOW_SECONDS)
            for at in refusals
        ),
        default=0,
    )


@pytest.mark.parametrize("hint", [None, 4, 8, 50])
@pytest.mark.parametrize("latency", [0.4, 1.0, 5.0])
def test_one_server_is_used_to_95_percent_without_a_refusal(hint, latency):
    outcome = simulate(duration=900, hint=hint, latency=latency)
    # The window allows 1 200 s at once and 4 s/s after it: three windows in 900 s.
    # A lower ceiling of concurrency allows no more than itself.
    attainable = min(3 * 1200.0, (hint or 52) * 900.0)
    assert outcome.executed >= 0.95 * attainable
    assert outcome.refusals == []


@pytest.mark.parametrize("latency", [0.4, 1.0, 5.0])
def test_without_headers_the_budget_is_learned_from_one_refusal_a_window(latency):
    outcome = simulate(duration=1800, hint=50, latency=latency, headers=False)
    assert outcome.executed >= 0.95 * 6 * 1200.0
    assert 1 <= most_refusals_in_a_window(outcome.refusals) <= 1


@pytest.mark.parametrize("servers", [2, 4])
def test_several_servers_give_several_budgets(servers):
    outcome = simulate(duration=900, servers=servers, hint=50)
    assert outcome.executed >= 0.85 * servers * 3 * 1200.0
    assert most_refusals_in_a_window(outcome.refusals) <= 1


def test_many_short_requests_stay_within_the_request_limit():
    outcome = simulate(duration=900, hint=50, latency=0.05)
    assert outcome.served >= 0.95 * 3 * 6000
    assert outcome.refusals == []


def test_a_window_shorter_than_documented_is_found_out():
    farm = [Server(requests_limit=60, window=20.0)]
    outcome = simulate(duration=200, hint=4, latency=0.05, farm=farm)
    assert outcome.served >= 5 * 60
    assert outcome.refusals == []


def test_concurrency_never_passes_the_hint_nor_52():
    assert simulate(duration=60, hint=8).most_at_once == 8
    assert simulate(duration=60, hint=500).most_at_once == MAX_CONCURRENCY
    assert simulate(duration=60).most_at_once <= MAX_CONCURRENCY


def test_the_first_request_goes_alone_and_the_hint_decides_the_next():
    pacer = Pacer()
    assert pacer.wait(0.0) == 0.0
    pacer.started(0.0)
    assert pacer.wait(0.0) == math.inf
    pacer.finished(1.0, 1.0, Allowance(concurrency_hint=17))
    assert pacer.concurrency == 17


def test_without_a_hint_four_requests_start():
    pacer = Pacer()
    pacer.started(0.0)
    pacer.finished(1.0, 1.0)
    assert pacer.concurrency == 4


def test_retry_after_stops_everybody_and_halves_once():
    pacer = Pacer()
    pacer.started(0.0)
    pacer.finished(1.0, 1.0, Allowance(concurrency_hint=8))
    for _ in range(8):
        pacer.started(1.0)
    for _ in range(8):
        pacer.throttled(2.0, 30.0, Facet.CONCURRENCY)
    assert pacer.concurrency == 4
    assert pacer.wait(2.0) == 30.0
    assert pacer.wait(31.9) == pytest.approx(0.1)
    assert pacer.wait(32.0) == 0.0


@pytest.mark.parametrize("before", [0, 1, 20])
def test_a_refusal_early_on_stops_us_for_as_long_as_it_says(before):
    pacer = Pacer()
    for number in range(before):
        pacer.started(float(number))
        pacer.finished(number + 0.5, 0.5)
    pacer.started(50.0)
    pacer.throttled(51.0, 1.0, Facet.REQUESTS)
    for number in range(100):
        at = 52.0 + number
        assert pacer.wait(at) == 0
        pacer.started(at)
        pacer.finished(at + 0.5, 0.5)


def test_a_longer_retry_after_extends_the_pause_and_a_shorter_does_not_cut_it():
    pacer = refused(at=0.0, retry_after=30.0)
    pacer.started(0.0)
    pacer.started(0.0)
    pacer.throttled(1.0, 60.0, None)
    pacer.throttled(2.0, 5.0, None)
    assert pacer.paused_for(2.0) == 59.0


def test_concurrency_grows_by_one_a_round_after_a_refusal():
    pacer = Pacer()
    pacer.started(0.0)
    pacer.finished(1.0, 1.0, Allowance(concurrency_hint=8))
    pacer.started(1.0)
    pacer.throttled(1.0, 1.0, Facet.CONCURRENCY)
    assert pacer.concurrency == 4
    for _ in range(5):
        pacer.started(3.0)
        pacer.finished(3.0, 0.0, Allowance(concurrency_hint=8))
    assert pacer.concurrency == 5


def test_the_next_process_knows_what_the_last_one_spent():
    """Two runs inside one window must not spend its budget twice."""
    farm = [Server()]
    first = Pacer()
    outcome = simulate(duration=100, hint=50, pacer=first, farm=farm)
    assert outcome.executed > 1100
    saved = first.snapshot(100.0)

    second = Pacer()
    second.restore(120.0, saved, age=20.0)
    outcome = simulate(
        duration=600, hint=50, pacer=second, farm=farm, start=120.0, headers=False
    )
    assert most_refusals_in_a_window(outcome.refusals) <= 1


def test_the_next_process_starts_at_the_concurrency_of_the_last_one():
    first = Pacer()
    simulate(duration=30, hint=8, pacer=first)
    saved = first.snapshot(30.0)
    assert first.concurrency == 8
    for age, concurrency in ((300.0, 8), (4000.0, 1)):
        heir = Pacer()
        heir.restore(0.0, saved, age)
        assert heir.concurrency == concurrency
    guest = Pacer(most=1)
    guest.restore(0.0, saved, 1.0)
    assert guest.concurrency == 1


@pytest.mark.parametrize("odd", [None, "8", -1, 0, math.nan, math.inf, [8]])
@pytest.mark.parametrize("name", ["hint", "concurrency", "mean_seconds"])
def test_odd_values_of_an_earlier_process_are_ignored(name, odd):
    first = Pacer()
    simulate(duration=30, hint=8, pacer=first)
    heir = Pacer()
    heir.restore(0.0, {**first.snapshot(30.0), name: odd}, 1.0)
    assert heir.concurrency == 1


def test_an_open_retry_after_outlives_the_process():
    pacer = refused(at=10.0, retry_after=60.0)
    heir = Pacer()
    heir.restore(0.0, pacer.snapshot(20.0), age=5.0)
    assert heir.paused_for(0.0) == 45.0


def test_why_the_service_asked_for_a_pause_outlives_the_process():
    pacer = Pacer()
    pacer.started(0.0)
    pacer.throttled(0.0, 30.0, Facet.REQUESTS, "too many requests")
    heir = Pacer()
    heir.restore(0.0, pacer.snapshot(10.0), 0.0)
    assert (heir.paused_by, heir.paused_for(0.0)) == ("too many requests", 20.0)
    assert heir.is_paused_by_dataverse
    assert Pacer().paused_by == ""


def test_that_a_gateway_asked_for_the_longest_pause_outlives_the_process():
    pacer = Pacer()
    pacer.started(0.0)
    pacer.started(0.0)
    pacer.throttled(0.0, 60.0, None, "HTTP 429, text/html", is_dataverses=False)
    pacer.throttled(0.0, 30.0, Facet.REQUESTS, "too many requests")
    heir = Pacer()
    heir.restore(0.0, pacer.snapshot(10.0), 0.0)
    assert (heir.paused_by, heir.paused_for(0.0)) == ("HTTP 429, text/html", 50.0)
    assert not heir.is_paused_by_dataverse


def test_a_clock_set_back_between_two_runs_does_not_lengthen_the_pause():
    pacer = refused(at=0.0, retry_after=60.0)
    heir = Pacer()
    heir.restore(0.0, pacer.snapshot(0.0), age=-3600.0)
    assert heir.paused_for(0.0) == 60.0


def test_a_budget_that_somebody_else_spent_is_waited_for_until_ours_has_left_the_window():
    """Nobody tells when theirs does; a window later, all that the answer knew of has left."""
    pacer = Pacer()
    pacer.started(0.0)
    pacer.finished(1.0, 1.0, Allowance(seconds=0.0, requests=6000))
    assert pacer.wait(1.0) == WINDOW_SECONDS
    assert pacer.wait(1.0 + WINDOW_SECONDS / 2) == WINDOW_SECONDS / 2
    assert pacer.wait(1.0 + WINDOW_SECONDS) == 0.0


def test_a_guest_sends_one_request_at_a_time_and_leaves_half_to_others():
    guest = Pacer(most=1, reserve=0.5)
    now, sent = 0.0, 0
    while guest.wait(now) == 0.0:
        guest.started(now)
        assert guest.wait(now) == math.inf
        sent += 1
        now += 0.01
        left = Allowance(requests=6000 - sent, seconds=1200, concurrency_hint=50)
        guest.finished(now, 0.01, left)
    assert guest.concurrency == 1
    assert 2900 <= sent <= 3000
