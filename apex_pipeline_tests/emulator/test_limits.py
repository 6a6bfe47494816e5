"""Service protection: pure, on a clock of the test's; then over the wire."""

import asyncio

import httpx
import pytest

from apex_pipeline.emulator import (
    PROFILES,
    Clock,
    Options,
    ServedEmulator,
    UserLimits,
    serve,
)
from apex_pipeline.emulator.limits import ServiceProtection
from apex_pipeline.emulator.web_api_errors import WebApiError
from apex_pipeline_tests.support.emulator_server import (
    SET,
    UPSERT,
    Dial,
    api,
    campaign_metric,
    dial,
    timed_emulator,
    token,
    trusting,
    web_api,
)

__all__ = ["api", "dial", "timed_emulator"]


def request(
    protection: ServiceProtection, now: float, seconds: float = 0, user: str = "u"
) -> None:
    protection.begin(user, 0, now)
    protection.finish(user, 0, now, seconds)


def refusal(protection: ServiceProtection, now: float, user: str = "u") -> WebApiError:
    with pytest.raises(WebApiError) as caught:
        protection.begin(user, 0, now)
    assert caught.value.status == 429
    return caught.value


def test_the_number_of_requests_slides_with_the_window():
    protection = ServiceProtection(UserLimits(requests=3, shortest_wait_seconds=0))
    for now in (0, 10, 20):
        request(protection, now)
    refused = refusal(protection, 30)
    assert refused.code == "0x80072322"
    assert refused.message == (
        "Number of requests exceeded the limit of 3 over time window of 300 seconds."
    )
    assert refused.headers["Retry-After"] == "270"
    request(protection, 300)
    assert refusal(protection, 301).headers["Retry-After"] == "9"


def test_execution_time_bites_once_it_is_exceeded():
    protection = ServiceProtection(UserLimits(shortest_wait_seconds=0))
    request(protection, 0, 600)
    request(protection, 100, 600)
    request(protection, 150, 1)
    refused = refusal(protection, 200)
    assert refused.code == "0x80072321"
    assert "exceeded limit of 1,200,000  milliseconds" in refused.message
    assert refused.headers["Retry-After"] == "100"
    request(protection, 300)


def test_the_wait_grows_while_requests_keep_coming():
    limits = UserLimits(requests=1, window_seconds=10, growth_seconds=3)
    protection = ServiceProtection(limits)
    request(protection, 0)
    waits = [int(refusal(protection, 4).headers["Retry-After"]) for _ in range(3)]
    assert waits == [6, 9, 12]
    assert refusal(protection, 15).code == "0x80072322"
    request(protection, 30)


def test_concurrency_bites_at_once_and_lets_go_at_once():
    protection = ServiceProtection(UserLimits(concurrent=2))
    for _ in range(2):
        protection.begin("u", 0, 0)
    refused = refusal(protection, 0)
    assert refused.code == "0x80072326"
    assert refused.message == "Number of concurrent requests exceeded the limit of 2."
    protection.finish("u", 0, 1, 0)
    protection.begin("u", 0, 1)


def test_users_and_servers_have_windows_of_their_own():
    protection = ServiceProtection(UserLimits(requests=1))
    request(protection, 0)
    request(protection, 0, user="other")
    protection.begin("u", 1, 0)
    refusal(protection, 0)


def test_the_wire_says_how_long_to_wait(timed_emulator, dial: Dial):
    timed_emulator.set_limits(requests=1)
    with web_api(timed_emulator) as client:
        client.get("WhoAmI")
        answer = client.get("WhoAmI")
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "300"
        assert answer.json()["error"]["code"] == "0x80072322"
        dial.now += 301
        assert client.get("WhoAmI").status_code == 200


def test_the_affinity_cookie_pins_a_server_and_its_absence_spreads(timed_emulator):
    bearer = token(timed_emulator)
    with web_api(timed_emulator, bearer) as pinned:
        for _ in range(4):
            pinned.get("WhoAmI")
    assert len({entry["server"] for entry in timed_emulator.requests()[1:]}) == 1
    timed_emulator.clear_requests()
    for _ in range(4):
        with web_api(timed_emulator, bearer) as forgetful:
            forgetful.get("WhoAmI")
    assert {entry["server"] for entry in timed_emulator.requests()} == {0, 1}


def test_headers_tell_what_is_left(emulator, api):
    answer = api.get("WhoAmI")
    assert answer.headers["x-ms-dop-hint"] == "4"
    assert answer.headers["x-ms-ratelimit-burst-remaining-xrm-requests"].isdigit()
    assert answer.headers["x-ms-ratelimit-time-remaining-xrm-requests"].startswith(
        "1,19"
    ) or answer.headers["x-ms-ratelimit-time-remaining-xrm-requests"] == ("1,200.00")
    assert "ARRAffinity=" in answer.headers["Set-Cookie"]
    assert "Set-Cookie" not in api.get("WhoAmI").headers


def test_a_profile_charges_the_time_that_it_simulates(dial: Dial):
    options = Options(
        "secret", profile=PROFILES["dev"], limits=UserLimits(execution_seconds=2)
    )
    with serve(options, clock=dial.clock()) as slow, web_api(slow) as client:
        began = dial.now
        targets = [campaign_metric() for _ in range(100)]
        answer = client.post(UPSERT, json={"Targets": targets})
        assert answer.status_code == 204
        assert dial.now - began == pytest.approx(0.05 + 100 * 0.025)
        refused = client.get("WhoAmI")
        assert refused.json()["error"]["code"] == "0x80072321"


class Gate:
    """Simulated work that lasts until the gate is opened."""

    def __init__(self) -> None:
        self.open = False

    async def sleep(self, seconds: float) -> None:
        for _ in range(5000):
            if self.open:
                return
            await asyncio.sleep(0.005)


async def _fill(emulator: ServedEmulator, gate: Gate) -> list[int]:
    """Three requests that hang, a fourth beside them, then all of the three's ends."""
    headers = {"Authorization": f"Bearer {token(emulator)}"}
    async with httpx.AsyncClient(
        base_url=f"{emulator.api}/", verify=trusting(emulator), headers=headers
    ) as client:
        hanging = [asyncio.create_task(client.get(SET)) for _ in range(3)]
        for _ in range(2000):
            if sum(SET in each["path"] for each in emulator.requests()) == 3:
                break
            await asyncio.sleep(0.01)
        fourth = await client.get(SET)
        gate.open = True
        return [fourth.status_code, *[(await task).status_code for task in hanging]]


def test_requests_that_run_at_once_are_counted():
    gate = Gate()
    options = Options("secret", limits=UserLimits(concurrent=3))
    with serve(options, clock=Clock(sleep=gate.sleep)) as emulator:
        emulator.fault("slow", delay=1, count=None)
        assert asyncio.run(_fill(emulator, gate)) == [429, 200, 200, 200]
