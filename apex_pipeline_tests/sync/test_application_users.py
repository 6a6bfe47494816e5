"""Several application users share one stream; a refused one is left out."""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import httpx
import pytest

from apex_pipeline.dataverse.client import DataverseClient
from apex_pipeline.dataverse.environment import Environment
from apex_pipeline.dataverse.pacing import Pacer
from apex_pipeline.dataverse.retry_policy import RetryPolicy
from apex_pipeline.dataverse.sender import Sender
from apex_pipeline.dataverse.throttling import Deadline, Gate
from apex_pipeline.emulator.limits import ServiceProtection, UserLimits
from apex_pipeline.emulator.web_api_errors import WebApiError
from apex_pipeline.errors import AuthError
from apex_pipeline.microsoft.token_cache import TokenCacheFile
from apex_pipeline.microsoft.tokens import TokenSource
from apex_pipeline.monitoring.rules import sync_health
from apex_pipeline.monitoring.rules.catalogue import USER_LEFT_OUT
from apex_pipeline.postgres import stored_pacing
from apex_pipeline.postgres.database import Database
from apex_pipeline.settings import Credential
from apex_pipeline.sync.application_users import ApplicationUser, ApplicationUsers
from apex_pipeline.sync.pacing_memory import PacingMemory, pacing_keys
from apex_pipeline.sync.request_delivery import DataverseSink
from apex_pipeline.sync.run import run_sync
from apex_pipeline.sync.run_options import StreamOptions, SyncOptions
from apex_pipeline.sync.stream import Stream
from apex_pipeline_tests.support.ends import (
    delivered,
    emulator_settings,
    insert_many,
    marked,
)
from apex_pipeline_tests.support.entra import Entra, dataverse_settings
from apex_pipeline_tests.support.row_source import Source, no_beat, pending_row
from apex_pipeline_tests.support.simulated_time import SimulatedTime

IMPATIENT = RetryPolicy(attempts=3, first_wait=0.01)
SECOND = "0d2f7c0a-3f0b-4a53-8a2e-7f3f0b1c9a22"
WINDOWS = 5
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Speed:
    """A service: seconds per request and per row, its hint, and its limits.

    Attributes:
        jitter: Share by which a request may take more or less time.
        late: Seconds at most until an answer arrives, after the service has counted it.
    """

    request: float
    row: float
    hint: int
    limits: UserLimits = field(default_factory=UserLimits)
    jitter: float = 0.0
    late: float = 0.0

    @property
    def allowed(self) -> float:
        """Rows that one user may deliver in a window, in requests of a hundred."""
        seconds = min(
            self.limits.execution_seconds, self.hint * self.limits.window_seconds
        )
        return 100 * seconds / (self.request + 100 * self.row)


SLOTS_LIMIT = Speed(0.5, 0.2, hint=2)
EXECUTION_TIME_LIMITS = Speed(0.5, 0.2, hint=10)


class ModelledService(httpx.AsyncBaseTransport):
    """Takes its time for a request, and holds one user to the limits."""

    def __init__(self, speed: Speed, clock: SimulatedTime, seed: int) -> None:
        self._speed = speed
        self._clock = clock
        self._limits = ServiceProtection(speed.limits)
        self._dice = random.Random(seed)
        self.refusals = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            self._limits.begin("user", 0, self._clock.now)
        except WebApiError as error:
            self.refusals += 1
            return httpx.Response(429, headers=error.headers)
        rows = request.content.count(b"@odata.type")
        jitter = self._dice.uniform(-self._speed.jitter, self._speed.jitter)
        took = (self._speed.request + rows * self._speed.row) * (1 + jitter)
        await asyncio.sleep(took)
        self._limits.finish("user", 0, self._clock.now, took)
        requests, seconds = self._limits.remaining("user", 0, self._clock.now)
        await asyncio.sleep(self._dice.uniform(0.0, self._speed.late))
        return httpx.Response(
            204,
            headers={
                "OData-Version": "4.0",
                "x-ms-dop-hint": str(self._speed.hint),
                "x-ms-ratelimit-burst-remaining-xrm-requests": str(requests),
                "x-ms-ratelimit-time-remaining-xrm-requests": f"{seconds:,.2f}",
            },
        )


def delivered_in_windows(
    count: int, speed: Speed, clock: SimulatedTime, tmp_path, store
) -> int:
    """Rows that this many users deliver in five windows, without a single 429."""
    services = [ModelledService(speed, clock, seed) for seed in range(count)]
    users = []
    for number, service in enumerate(services):
        settings = dataverse_settings(client_id=f"client-{number}")
        tokens = TokenSource(settings, TokenCacheFile(tmp_path / "t"), Entra().client())
        pacer = Pacer()
        gate = Gate(pacer, time.monotonic)
        sender = Sender(tokens, httpx.AsyncClient(transport=service), gate)
        client = DataverseClient(settings.resource, sender)
        users.append(
            ApplicationUser(
                settings.client_id,
                Environment(client, sender, tokens, gate, pacer),
                PacingMemory(store, settings.client_id, lambda: NOW),
                DataverseSink(client),
            )
        )
    crew = ApplicationUsers(users)
    enough = int(count * (WINDOWS + 1) * speed.allowed)
    stream = Stream(
        Source(pending_row(number) for number in range(1, enough)),
        crew,
        StreamOptions(),
        Deadline(WINDOWS * speed.limits.window_seconds, time.monotonic),
        no_beat,
        slots=crew.slots,
        expected=enough,
    )
    clock.run(stream.run())
    assert stream.tally.failure is None
    assert [service.refusals for service in services] == [0] * count
    assert crew.throttled_seconds == 0
    return stream.tally.delivered


@pytest.mark.slow
@pytest.mark.parametrize(
    "speed",
    [
        pytest.param(SLOTS_LIMIT, id="slots limit"),
        pytest.param(EXECUTION_TIME_LIMITS, id="execution time limits"),
    ],
)
def test_each_user_uses_what_it_is_allowed_to(speed, tmp_path, store, monkeypatch):
    rows = {}
    for count in (1, 2, 4):
        with monkeypatch.context() as patch:
            rows[count] = delivered_in_windows(
                count, speed, SimulatedTime(patch), tmp_path, store
            )
    assert rows[1] >= 0.95 * WINDOWS * speed.allowed
    assert rows[2] >= 1.95 * rows[1]
    assert rows[4] >= 3.8 * rows[1]


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0.1, 0.2])
@pytest.mark.parametrize("count", [1, 2])
def test_no_request_is_refused_where_durations_vary_and_answers_come_late(
    count, jitter, tmp_path, store, monkeypatch
):
    speed = replace(EXECUTION_TIME_LIMITS, jitter=jitter, late=1.0)
    rows = delivered_in_windows(
        count, speed, SimulatedTime(monkeypatch), tmp_path, store
    )
    assert rows >= 0.97 * WINDOWS * count * speed.allowed


@pytest.fixture
def two_users(emulator):
    """The emulator's application, and a second one that works."""
    emulator.register(SECOND, client_secret="second-secret")
    return replace(
        emulator_settings(emulator), others=(Credential(SECOND, "second-secret"),)
    )


@pytest.fixture
def sync(store, tmp_path):
    def run(settings, **options):
        return run_sync(
            store,
            settings,
            tmp_path / "tokens.json",
            SyncOptions(**({"retry": IMPATIENT} | options)),
        )

    return run


SMALL = StreamOptions(rows_per_request=10)


def test_both_users_deliver_and_each_keeps_its_own_pacing(
    sync, two_users, store, emulator, database_url
):
    insert_many(database_url, 400)
    emulator.clear_requests()
    report = sync(two_users, stream=SMALL)
    assert (report.failure, report.delivered, report.refused) == (None, 400, ())
    assert report.token_cache_misses == 2
    assert delivered(emulator) == marked(database_url)
    spent = [
        sum(amount for _, amount in store.ask(stored_pacing.pacing, key)["requests"])
        for key in pacing_keys(two_users)
    ]
    assert sum(spent) == report.requests
    assert min(spent) > 5


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        ({"client_secret": "another"}, "AADSTS7000215"),
        ({"client_secret": "second-secret", "disabled": True}, "disabled"),
        ({"client_secret": "second-secret", "user": False}, "not a member"),
        ({"client_secret": "second-secret", "roles": []}, "prv"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_refused_user_is_left_out_and_reported_and_the_others_go_on(
    sync, two_users, store, emulator, database_url, registered, said, is_first
):
    emulator.register(SECOND, **registered)
    settings = two_users
    if is_first:
        broken, *_ = settings.others
        settings = replace(
            settings,
            client_id=broken.client_id,
            client_secret=broken.client_secret,
            others=(Credential(settings.client_id, settings.client_secret),),
        )
    insert_many(database_url, 100)
    report = sync(settings, stream=SMALL)
    assert (report.failure, report.delivered) == (None, 100)
    assert delivered(emulator) == marked(database_url)
    (refused,) = report.refused
    assert refused.client_id == SECOND
    assert said in refused.reason

    with Database(database_url, application_name="test") as database:
        health = sync_health.read_health(database, datetime.now(UTC), settings)
        *_, seen = sync_health.observe(health, NOW, NOW)
    assert seen.scope == USER_LEFT_OUT.name
    assert [SECOND in each.title for each in seen.findings] == [True]

    emulator.register(SECOND, user=False)
    emulator.register(SECOND, client_secret="second-secret")
    insert_many(database_url, 20)
    assert sync(two_users, stream=SMALL).refused == ()
    kept = [
        store.ask(stored_pacing.pacing, key)["refusal"] for key in pacing_keys(settings)
    ]
    assert kept == ["", ""]


def test_a_run_fails_only_if_every_user_is_refused(
    sync, two_users, emulator, database_url
):
    for client in (SECOND, two_users.client_id):
        emulator.register(client, disabled=True)
    insert_many(database_url, 50)
    report = sync(two_users, stream=SMALL)
    assert isinstance(report.failure, AuthError)
    assert report.delivered == 0
    assert {each.client_id for each in report.refused} == {SECOND, two_users.client_id}
    assert marked(database_url) == set()


def test_a_user_refused_in_the_middle_loses_no_row(
    sync, two_users, emulator, database_url
):
    insert_many(database_url, 300)
    emulator.fault("status", status=403, skip=5, count=1, path="UpsertMultiple")
    report = sync(two_users, stream=SMALL)
    assert (report.failure, report.delivered) == (None, 300)
    assert len(report.refused) == 1
    assert delivered(emulator) == marked(database_url)


def test_a_pause_of_one_user_stops_no_run_and_the_earliest_end_counts(
    sync, two_users, store, emulator, database_url
):
    first, second = pacing_keys(two_users)
    insert_many(database_url, 30)
    soon, late = (datetime.fromtimestamp(time.time() + s, UTC) for s in (600, 900))
    paused = {"paused_for": 900.0, "saved_at": time.time()}
    store.ask(stored_pacing.save_pacing, first, paused, late)
    report = sync(two_users, stream=SMALL)
    assert (report.failure, report.delivered, report.skipped) == (None, 30, None)

    store.ask(stored_pacing.save_pacing, first, paused, late)
    store.ask(stored_pacing.save_pacing, second, paused, soon)
    insert_many(database_url, 1)
    assert sync(two_users).retry_at == soon
